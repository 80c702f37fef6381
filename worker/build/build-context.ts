import { lstatSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { posix } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { SlipwayError } from '#shared/errors.ts'
import { suggestion } from '#shared/nearest.ts'
import { type IgnoreRule, parseIgnoreFile, rulesAbout } from '../dockerfile/ignore-rules.ts'
import { readFileInRoot } from '../host/rooted-fs.ts'
import { bytesOf, latin1 } from './byte-paths.ts'

export const DOCKERFILE_LIMIT = 1024 * 1024
export const CONTEXT_LIMITS = { maxBytes: 16 * 1024 ** 3, maxEntries: 1_000_000 }

/** Throws `build.dockerfile-missing`, `build.dockerfile-invalid` (not text) and `request.too-large`. */
export async function readDockerfile(context: string, path: string): Promise<string> {
  const bytes = await readFileInRoot(context, path, DOCKERFILE_LIMIT)
  if (bytes) return bytes.toString().replace(/^\uFEFF/, '')
  const found = readdirSync(context).sort()
  const names = found.slice(0, 10).join(', ') || 'nothing'
  const help = suggestion(path, found).replace(/^: d/, ' D')
  const message = `The context has no file ${path}: it has ${names}.${help} Name another with "dockerfile".`
  throw new SlipwayError('build.dockerfile-missing', message, { facts: { file: path } })
}

/** What leaves files out of a context. */
export interface IgnoreFile {
  file: string
  text: string
  rules: IgnoreRule[]
}

/** Between two pauses, in which everything else of this process goes on. */
const MATCHES_AT_A_TIME = 20_000

/**
 * Takes away what the ignore file leaves out: `<dockerfile>.dockerignore` if there is one, else `.dockerignore`
 * (Docker's build context reference). Nothing later can see it. Returns the one that counted.
 */
export async function applyIgnoreFile(
  context: string,
  dockerfile: string,
  signal: AbortSignal,
): Promise<IgnoreFile | undefined> {
  for (const file of [`${dockerfile}.dockerignore`, '.dockerignore']) {
    const bytes = await readFileInRoot(context, file, DOCKERFILE_LIMIT)
    if (!bytes) continue
    const text = bytes.toString()
    const rules = parseIgnoreFile(text, file)
    await removeMatching(context, rules, signal)
    return { file, text, rules }
  }
  return undefined
}

/** Takes away all below a folder that the rules leave out. */
export async function removeMatching(root: string, rules: readonly IgnoreRule[], signal: AbortSignal): Promise<void> {
  await removeIgnored({ root: latin1(root), rules, pause: pauses(rules.length, signal) }, '', new Set())
}

function pauses(matchesEach: number, signal: AbortSignal): () => Promise<void> {
  let matches = 0
  return async () => {
    matches += matchesEach + 1
    if (matches < MATCHES_AT_A_TIME) return
    matches = 0
    await setImmediate()
    signal.throwIfAborted()
  }
}

interface Removal {
  root: string
  rules: readonly IgnoreRule[]
  pause(): Promise<void>
}

/** Bottom up, since a rule with `!` may keep a file of a folder that another rule leaves out. True: nothing is left. */
async function removeIgnored(removal: Removal, folder: string, above: ReadonlySet<IgnoreRule>): Promise<boolean> {
  let isEmpty = true
  for (const name of readdirSync(bytesOf(posix.join(removal.root, folder)), 'latin1')) {
    await removal.pause()
    const path = posix.join(folder, name)
    const at = bytesOf(posix.join(removal.root, path))
    const { about, isIgnored } = rulesAbout(bytesOf(path).toString(), removal.rules, above)
    const isFolder = lstatSync(at).isDirectory()
    const hasNothing = isFolder ? await removeIgnored(removal, path, about) : true
    if (hasNothing && isIgnored) await rm(at, { recursive: true, force: true })
    else isEmpty = false
  }
  return isEmpty
}
