import { chmodSync, chownSync, closeSync, lchownSync, lstatSync, openSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { basename, dirname, join, posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { lgetxattr, lsetxattr } from '#worker/host/syscalls.ts'
import { type ModeChange, parseMode } from '../dockerfile/file-mode.ts'
import { type IgnoreRule, parseIgnoreFile, rulesAbout } from '../dockerfile/ignore-rules.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { removeTree } from '../host/remove-tree.ts'
import { mkdirInRoot, resolveBytesInRoot } from '../host/rooted-fs.ts'
import { type RunResult, runAny } from '../host/run.ts'
import { isTar } from './archive.ts'
import { removeMatching } from './build-context.ts'
import { bytesOf, latin1, readable } from './byte-paths.ts'
import type { CopySource, Source } from './copy-sources.ts'
import { type Owner, ownerOf } from './file-owner.ts'

const COPY_MS = 15 * 60_000
const ROOT = { uid: 0, gid: 0 }

/** What of the sources stays behind. */
export function excludesOf(step: Pick<CopyStep, 'excludes'>): IgnoreRule[] {
  return parseIgnoreFile(step.excludes.join('\n'), '--exclude')
}

/**
 * Copies sources into a root filesystem as COPY and ADD do (Dockerfile reference, "COPY"). coreutils' cp does the
 * copying: it keeps modes, times, links, holes and attributes, and writes through no link of the destination.
 * `scratch` is a folder for what is unpacked or sorted out on the way. Sources with `isRemote` are unpacked only where the
 * step says so of addresses.
 */
export async function copyFiles(
  step: CopyStep,
  sources: readonly CopySource[],
  rootfs: string,
  scratch: string,
  signal: AbortSignal,
): Promise<void> {
  const owner = step.chown === undefined ? undefined : await ownerOf(step.chown, rootfs)
  const chmod = step.chmod === undefined ? undefined : parseMode(step.chmod)
  const target: Target = { rootfs, owner, chmod, signal, excludes: excludesOf(step), scratch }
  if (sources.length > 1 && !isFolderIn(rootfs, step.to)) {
    const message = `Several sources need a destination that ends in a slash: write ${step.to}/.`
    throw new SlipwayError('build.dockerfile-invalid', message)
  }
  for (const source of sources) {
    const to = await parentsIn(target, source, step.to)
    const mayUnpack = step.unpacks === 'all' || (step.unpacks === 'local' && !source.isRemote)
    if (source.isFolder) await copySelected(source.path, to, target)
    else if (mayUnpack && (await isTar(source.path, signal))) await unpackInto(source, to, target)
    else if (!isExcluded(basename(source.name), target)) await copyFile(source, to, target)
  }
}

function isFolderIn(rootfs: string, to: string): boolean {
  if (to.endsWith('/')) return true
  const known = bytesOf(resolveBytesInRoot(latin1(rootfs), latin1(to)))
  return lstatSync(known, { throwIfNoEntry: false })?.isDirectory() ?? false
}

interface Target {
  rootfs: string
  owner: Owner | undefined
  chmod: ModeChange | undefined
  excludes: readonly IgnoreRule[]
  scratch: string
  signal: AbortSignal
}

function isExcluded(name: string, { excludes }: Target): boolean {
  return rulesAbout(readable(name), excludes, new Set()).isIgnored
}

/** Where a source goes once the folders that it keeps are made, with the modes that they had. */
async function parentsIn(target: Target, { parents, isFolder }: Source, to: string): Promise<string> {
  for (const { path, mode } of parents) {
    await mkdirInRoot(target.rootfs, posix.join(to, path), { ...(target.owner ?? ROOT), mode })
  }
  const last = parents.at(-1)
  if (last === undefined) return to
  return isFolder ? posix.join(to, last.path) : `${posix.join(to, last.path)}/`
}

/** A folder without what is excluded: that is taken out of a copy, so that the source stays whole for others. */
async function copySelected(from: string, to: string, target: Target): Promise<void> {
  if (target.excludes.length === 0) return copyFolder(from, to, target)
  await mkdir(target.scratch, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(target.scratch, 'selected-'))
  try {
    await copy(['-T', '--reflink=auto'], from, latin1(folder), target)
    await removeMatching(folder, target.excludes, target.signal)
    await copyFolder(latin1(folder), to, target)
  } finally {
    await removeTree(folder)
  }
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
  const isFolder = isFolderIn(target.rootfs, to)
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
    throw new SlipwayError(
      'host.disk-full',
      'The disk of this host is full: free some space on it, or build elsewhere.',
    )
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
  const mode = stat.mode & 0o7777
  if (!stat.isSymbolicLink()) chmodSync(at, chmod ? chmod(mode, stat.isDirectory()) : mode)
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
async function unpackInto({ path, name }: Source, to: string, target: Target): Promise<void> {
  const { scratch } = target
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
    await copySelected(latin1(folder), to, target)
  } finally {
    closeSync(archive)
    await removeTree(folder)
  }
}
