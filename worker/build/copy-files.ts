import { chmodSync, chownSync, closeSync, lchownSync, lstatSync, openSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { basename, dirname, join, posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { lgetxattr, lsetxattr } from '#worker/host/syscalls.ts'
import { removeTree } from '../host/remove-tree.ts'
import { mkdirInRoot, resolveBytesInRoot } from '../host/rooted-fs.ts'
import { type RunResult, runAny } from '../host/run.ts'
import { isTar } from './archive.ts'
import { bytesOf, latin1, readable } from './byte-paths.ts'
import type { Source } from './copy-sources.ts'
import { type Owner, ownerOf } from './file-owner.ts'
import type { CopyStep } from './interpret.ts'

const COPY_MS = 15 * 60_000
const ROOT = { uid: 0, gid: 0 }

/**
 * Copies sources into a root filesystem as COPY and ADD do (Dockerfile reference, "COPY"). coreutils' cp does the
 * copying: it keeps modes, times, links, holes and attributes, and writes through no link of the destination.
 * `scratch` is a folder for archives that are unpacked on the way.
 */
export async function copyFiles(
  step: CopyStep,
  sources: readonly Source[],
  rootfs: string,
  scratch: string,
  signal: AbortSignal,
): Promise<void> {
  const owner = step.chown === undefined ? undefined : await ownerOf(step.chown, rootfs)
  const target: Target = { rootfs, owner, chmod: step.chmod, signal }
  if (sources.length > 1 && !step.to.endsWith('/')) {
    const message = `Several sources need a destination that ends in a slash: write ${step.to}/.`
    throw new SlipwayError('build.dockerfile-invalid', message)
  }
  for (const source of sources) {
    if (source.isFolder) await copyFolder(source.path, step.to, target)
    else if (step.unpacks && (await isTar(source.path, signal))) await unpackInto(source, step.to, target, scratch)
    else await copyFile(source, step.to, target)
  }
}

interface Target {
  rootfs: string
  owner: Owner | undefined
  chmod: number | undefined
  signal: AbortSignal
}

/** Latin-1, as all paths below. */
async function folderIn({ rootfs, owner = ROOT }: Target, path: string): Promise<string> {
  return latin1(await mkdirInRoot(rootfs, path, { ...owner, mode: 0o755 }))
}

/** The contents of a folder go into the destination, which keeps its own owner and mode when it was there. */
async function copyFolder(from: string, to: string, target: Target): Promise<void> {
  const folder = await folderIn(target, to)
  const before = lstatSync(bytesOf(folder))
  await copy([], `${from}/.`, folder, target)
  chownSync(bytesOf(folder), before.uid, before.gid)
  chmodSync(bytesOf(folder), before.mode & 0o7777)
  adjustContents(from, folder, target)
}

async function copyFile(source: Source, to: string, target: Target): Promise<void> {
  const known = resolveBytesInRoot(latin1(target.rootfs), latin1(to))
  const isFolder = to.endsWith('/') || lstatSync(bytesOf(known), { throwIfNoEntry: false })?.isDirectory()
  const folder = await folderIn(target, isFolder ? to : dirname(to))
  const file = posix.join(folder, isFolder ? basename(source.name) : latin1(basename(to)))
  await copy(['-T'], source.path, file, target)
  adjust(source.path, file, target)
}

/** Node gives arguments as UTF-8 alone: other bytes come as octal escapes, to a shell that then becomes the program. */
const WITH_PATHS = `from=$(printf %b. "$1"); to=$(printf %b. "$2"); shift 2; exec "$@" -- "\${from%.}" "\${to%.}"`

async function copy(options: readonly string[], from: string, to: string, target: Target): Promise<void> {
  const program = ['env', 'LC_ALL=C', 'cp', '-a', '--remove-destination', ...options]
  const args = ['-c', WITH_PATHS, 'sh', octal(from), octal(to), ...program]
  const result = await runAny('sh', args, runOptions(target))
  refuseFailure(result, 'Copying failed')
}

const octal = (path: string) =>
  path.replace(/[^\w./-]/g, char => `\\0${char.charCodeAt(0).toString(8).padStart(3, '0')}`)

/** The full disk is told by the program's sentence, so it has to be the untranslated one: hence LC_ALL. */
function refuseFailure({ exitCode, stderr }: RunResult, what: string): void {
  if (exitCode === 0) return
  if (/no space left on device|disk quota exceeded/i.test(stderr)) {
    throw new SlipwayError('host.disk-full', 'The disk of this host is full: free some space on it.')
  }
  throw new SlipwayError('build.step-failed', `${what}: ${stderr.slice(0, 500)}`)
}

const runOptions = ({ signal }: Target) => ({ timeoutMs: COPY_MS, signal })

/** `--chown` and `--chmod` for what came from `from`, and for nothing that was there before. */
function adjust(from: string, to: string, target: Target): void {
  const { owner, chmod } = target
  if (owner === undefined && chmod === undefined) return
  const stat = lstatSync(bytesOf(from))
  const at = bytesOf(to)
  const capability = stat.isFile() ? lgetxattr(at, CAPABILITY) : undefined
  if (owner) lchownSync(at, owner.uid, owner.gid)
  // A change of owner takes set-user-ID and capabilities away, so they come second.
  if (!stat.isSymbolicLink()) chmodSync(at, chmod ?? stat.mode & 0o7777)
  if (capability) lsetxattr(at, CAPABILITY, capability)
  if (stat.isDirectory()) adjustContents(from, to, target)
}

const CAPABILITY = 'security.capability'

function adjustContents(from: string, to: string, target: Target): void {
  for (const name of readdirSync(bytesOf(from), 'latin1')) {
    adjust(posix.join(from, name), posix.join(to, name), target)
  }
}

/** GNU tar unpacks into a folder of its own, where it lets no entry out; from there cp takes it on. */
async function unpackInto({ path, name }: Source, to: string, target: Target, scratch: string): Promise<void> {
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(scratch, 'unpacked-'))
  const archive = openSync(bytesOf(path), 'r')
  try {
    const options = ['--numeric-owner', '--same-owner', '--same-permissions', '--xattrs', '--xattrs-include=*']
    // By its descriptor: a name may have a colon, which tar takes for another host's, or bytes that no argument can have.
    const from = `/proc/${process.pid}/fd/${archive}`
    const result = await runAny(
      'env',
      ['LC_ALL=C', 'tar', '-x', ...options, '-C', folder, '-f', from],
      runOptions(target),
    )
    refuseFailure(result, `${readable(basename(name))} cannot be unpacked`)
    await copyFolder(latin1(folder), to, target)
  } finally {
    closeSync(archive)
    await removeTree(folder)
  }
}
