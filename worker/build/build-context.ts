import { lstatSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, posix } from 'node:path'
import dockerignore from '@balena/dockerignore'
import { SlipwayError } from '#shared/errors.ts'
import { readFileInRoot } from '../host/rooted-fs.ts'

const DOCKERFILE_LIMIT = 1024 * 1024
export const CONTEXT_LIMITS = { maxBytes: 16 * 1024 ** 3, maxEntries: 1_000_000 }

/** Throws `build.dockerfile-missing`, `build.dockerfile-invalid` (not text) and `request.too-large`. */
export async function readDockerfile(context: string, path: string): Promise<string> {
  const bytes = await readFileInRoot(context, path, DOCKERFILE_LIMIT)
  if (bytes) return bytes.toString().replace(/^\uFEFF/, '')
  const names = readdirSync(context).sort().slice(0, 10).join(', ') || 'nothing'
  const message = `The context has no file ${path}: it has ${names}. Name another with "dockerfile".`
  throw new SlipwayError('build.dockerfile-missing', message)
}

/**
 * Takes away what the ignore file leaves out: `<dockerfile>.dockerignore` if there is one, else `.dockerignore`
 * (Docker's build context reference). Nothing later can see it.
 */
export async function applyIgnoreFile(context: string, dockerfile: string): Promise<void> {
  const text =
    (await readFileInRoot(context, `${dockerfile}.dockerignore`, DOCKERFILE_LIMIT)) ??
    (await readFileInRoot(context, '.dockerignore', DOCKERFILE_LIMIT))
  if (!text) return
  const rules = dockerignore.default({ ignorecase: false }).add(text.toString())
  await removeIgnored(context, '', path => rules.ignores(path))
}

/** Bottom up, since a rule with `!` may keep a file of a folder that another rule leaves out. True: nothing is left. */
async function removeIgnored(context: string, folder: string, isIgnored: (path: string) => boolean): Promise<boolean> {
  let isEmpty = true
  for (const name of readdirSync(join(context, folder))) {
    const path = posix.join(folder, name)
    const isFolder = lstatSync(join(context, path)).isDirectory()
    const hasNothing = isFolder ? await removeIgnored(context, path, isIgnored) : true
    if (hasNothing && isIgnored(path)) await rm(join(context, path), { recursive: true, force: true })
    else isEmpty = false
  }
  return isEmpty
}
