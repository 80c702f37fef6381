import { chmodSync, chownSync, closeSync, lchownSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { basename, dirname, join, posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { removeTree } from '../host/remove-tree.ts'
import { mkdirInRoot, readFileInRoot, resolveInRoot } from '../host/rooted-fs.ts'
import { runAny } from '../host/run.ts'
import { resolveUser } from '../runtime/user.ts'
import type { Source } from './copy-sources.ts'
import type { CopyStep } from './interpret.ts'

const COPY_MS = 15 * 60_000
const ACCOUNT_FILE_LIMIT = 1024 * 1024
const ROOT = { uid: 0, gid: 0 }

interface Owner {
  uid: number
  gid: number
}

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
  const isFolder = step.to.endsWith('/') || sources.length > 1 || sources.some(({ isPattern }) => isPattern)
  if (sources.length > 1 && !step.to.endsWith('/')) {
    const message = `Several sources need a destination that ends in a slash: write ${step.to}/.`
    throw new SlipwayError('build.dockerfile-invalid', message)
  }
  for (const source of sources) {
    if (step.unpacks && !source.isFolder && looksLikeArchive(source.path)) {
      if (await unpackInto(source.path, step.to, target, scratch)) continue
    }
    if (source.isFolder) await copyFolder(source.path, step.to, target)
    else await copyFile(source, step.to, isFolder, target)
  }
}

interface Target {
  rootfs: string
  owner: Owner | undefined
  chmod: number | undefined
  signal: AbortSignal
}

async function ownerOf(chown: string, rootfs: string): Promise<Owner> {
  const read = async (path: string) => (await readFileInRoot(rootfs, path, ACCOUNT_FILE_LIMIT))?.toString() ?? ''
  const { uid, gid } = resolveUser(chown, await read('/etc/passwd'), await read('/etc/group'))
  // Docker's rule for --chown: a number alone is the group too.
  return /^\d+$/.test(chown) ? { uid, gid: uid } : { uid, gid }
}

async function folderIn({ rootfs, owner = ROOT }: Target, path: string): Promise<string> {
  return mkdirInRoot(rootfs, path, { ...owner, mode: 0o755 })
}

/** The contents of a folder go into the destination, which keeps its own owner and mode when it was there. */
async function copyFolder(from: string, to: string, target: Target): Promise<void> {
  const folder = await folderIn(target, to)
  const before = lstatSync(folder)
  await copy(['-a', '--remove-destination', '--', `${from}/.`, folder], target)
  chownSync(folder, before.uid, before.gid)
  chmodSync(folder, before.mode & 0o7777)
  for (const name of readdirSync(from)) adjust(join(from, name), join(folder, name), target)
}

async function copyFile(source: Source, to: string, isFolder: boolean, target: Target): Promise<void> {
  const known = await resolveInRoot(target.rootfs, to)
  const isInto = isFolder || lstatSync(known, { throwIfNoEntry: false })?.isDirectory()
  const path = isInto ? posix.join(to, basename(source.name)) : to
  const folder = await folderIn(target, dirname(path))
  const file = join(folder, basename(path))
  await copy(['-a', '--remove-destination', '-T', '--', source.path, file], target)
  adjust(source.path, file, target)
}

async function copy(args: string[], target: Target): Promise<void> {
  const { exitCode, stderr } = await runAny('cp', args, limits(target))
  if (exitCode === 0) return
  throw isDiskFull(stderr)
    ? diskFull()
    : new SlipwayError('build.step-failed', `Copying failed: ${stderr.slice(0, 500)}`)
}

const isDiskFull = (text: string) => /no space left on device|disk quota exceeded/i.test(text)
const diskFull = () => new SlipwayError('host.disk-full', 'The disk of this host is full: free some space on it.')

const limits = ({ signal }: Target) => ({ timeoutMs: COPY_MS, signal })

/** `--chown` and `--chmod` for what came from `from`, and for nothing that was there before. */
function adjust(from: string, to: string, target: Target): void {
  const { owner, chmod } = target
  if (owner === undefined && chmod === undefined) return
  const stat = lstatSync(from)
  if (owner) lchownSync(to, owner.uid, owner.gid)
  // A change of owner takes set-user-ID away, so the mode comes second.
  if (!stat.isSymbolicLink()) chmodSync(to, chmod ?? stat.mode & 0o7777)
  if (stat.isDirectory()) for (const name of readdirSync(from)) adjust(join(from, name), join(to, name), target)
}

const MAGICS = [
  Buffer.from([0x1f, 0x8b]), // gzip
  Buffer.from('BZh'),
  Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), // xz
  Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), // zstd
]
const USTAR_AT = 257

function looksLikeArchive(path: string): boolean {
  const head = Buffer.alloc(USTAR_AT + 5)
  const fd = openSync(path, 'r')
  try {
    readSync(fd, head, 0, head.length, 0)
  } finally {
    closeSync(fd)
  }
  return (
    MAGICS.some(magic => head.subarray(0, magic.length).equals(magic)) || head.toString('latin1', USTAR_AT) === 'ustar'
  )
}

/**
 * GNU tar unpacks into a folder of its own, where it lets no entry out; from there cp takes it on. False for a
 * compressed file that is no tar: it is copied as it is, as Docker does.
 */
async function unpackInto(archive: string, to: string, target: Target, scratch: string): Promise<boolean> {
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(scratch, 'unpacked-'))
  try {
    const options = ['--numeric-owner', '--same-owner', '--same-permissions', '--xattrs', '--xattrs-include=*']
    const { exitCode, stderr } = await runAny('tar', ['-x', ...options, '-C', folder, '-f', archive], limits(target))
    if (exitCode !== 0) {
      if (/does not look like a tar/i.test(stderr)) return false
      if (isDiskFull(stderr)) throw diskFull()
      throw new SlipwayError('build.step-failed', `${basename(archive)} cannot be unpacked: ${stderr.slice(0, 500)}`)
    }
    await copyFolder(folder, to, target)
    return true
  } finally {
    await removeTree(folder)
  }
}
