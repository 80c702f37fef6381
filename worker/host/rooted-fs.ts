import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  readSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { asKernelError, errnoOf } from './kernel-error.ts'
import { openat2, RESOLVE } from './syscalls.ts'

/**
 * Paths of another root filesystem, resolved as a process whose root it is would see them: absolute links and `..`
 * stay inside. The tree must not change meanwhile (nothing runs in it); `openInRoot` alone is safe even then.
 * Linux's own count of links before it gives up (path_resolution(7)).
 */
const MAX_LINKS = 40

/**
 * The path on the host of `path` inside `root`, every link followed. What does not exist is taken as it is written, so
 * the result may be made. Throws `host.kernel-refused` with `facts.errno` `ELOOP` for links in a circle.
 */
export async function resolveInRoot(root: string, path: string): Promise<string> {
  return resolveInRootSync(root, path)
}

/** As `resolveInRoot`: a few readlink(2) calls. With `followsLast` false a link that the path ends in stays. */
export function resolveInRootSync(root: string, path: string, followsLast = true): string {
  const latin1 = (text: string) => Buffer.from(text).toString('latin1')
  return Buffer.from(resolveBytesInRoot(latin1(root), latin1(path), followsLast), 'latin1').toString()
}

/** As `resolveInRootSync`, of names in any encoding: held as Latin-1, one character a byte. */
export function resolveBytesInRoot(root: string, path: string, followsLast = true): string {
  const left = path.split('/').reverse()
  const done: string[] = []
  let links = 0
  while (left.length > 0) {
    const name = left.pop() ?? ''
    if (name === '' || name === '.') continue
    if (name === '..') {
      done.pop()
      continue
    }
    const isLast = left.every(rest => rest === '' || rest === '.')
    const target = followsLast || !isLast ? readLink(posix.join(root, ...done, name)) : undefined
    if (target === undefined) {
      done.push(name)
      continue
    }
    if (++links > MAX_LINKS) throw tooManyLinks(path)
    if (target.startsWith('/')) done.length = 0
    left.push(...target.split('/').reverse())
  }
  return posix.join(root, ...done)
}

function tooManyLinks(path: string): SlipwayError {
  const message = `${Buffer.from(path, 'latin1')} leads through more than ${MAX_LINKS} links: one of them probably points at itself.`
  return new SlipwayError('host.kernel-refused', message, {
    facts: { errno: 'ELOOP', path: Buffer.from(path, 'latin1').toString() },
  })
}

/** The target of a link; undefined for anything else or nothing. Latin-1 both. */
function readLink(path: string): string | undefined {
  try {
    return readlinkSync(Buffer.from(path, 'latin1'), 'latin1')
  } catch (error) {
    if (['EINVAL', 'ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined
    throw asKernelError(error, `read the link ${path}`)
  }
}

/** Opens a file inside a root for reading, links resolved by the kernel. The caller closes it. Never blocks on a FIFO. */
export async function openInRoot(root: string, path: string): Promise<number> {
  const folder = await open(root, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY
    return openat2(folder.fd, path, flags, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
  } finally {
    await folder.close()
  }
}

/**
 * The bytes of a small regular file inside a root; undefined when it is missing. Throws `request.too-large` above
 * `maxBytes` and `host.kernel-refused` for what is no regular file.
 */
export async function readFileInRoot(root: string, path: string, maxBytes: number): Promise<Buffer | undefined> {
  const fd = await openInRoot(root, path).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  })
  if (fd === undefined) return undefined
  try {
    return readBounded(fd, path, maxBytes)
  } catch (error) {
    throw asKernelError(error, `read ${path}`)
  } finally {
    closeSync(fd)
  }
}

function readBounded(fd: number, path: string, maxBytes: number): Buffer {
  const stat = fstatSync(fd)
  if (!stat.isFile()) {
    const facts = { errno: stat.isDirectory() ? 'EISDIR' : 'EINVAL', path }
    throw new SlipwayError('host.kernel-refused', `${path} is no regular file: it cannot be read.`, { facts })
  }
  const bytes = Buffer.alloc(Math.min(stat.size, maxBytes) + 1)
  let size = 0
  for (let count = -1; count !== 0 && size < bytes.length; size += count) {
    count = readSync(fd, bytes, size, bytes.length - size, null)
  }
  if (size > maxBytes) {
    throw new SlipwayError('request.too-large', `${path} is larger than ${sizeInWords(maxBytes)}: make it smaller.`)
  }
  return bytes.subarray(0, size)
}

export interface FolderOwner {
  uid: number
  gid: number
  mode: number
}

/**
 * Makes a folder inside a root with all its parents, links followed; folders that are there keep owner and mode.
 * Returns its path on the host. Errors: `host.kernel-refused` (a file is in the way: `ENOTDIR`), `host.disk-full`.
 */
export async function mkdirInRoot(root: string, path: string, owner: FolderOwner): Promise<string> {
  const folder = resolveInRootSync(root, path)
  const inside = posix.relative(root, folder)
  let current = root
  for (const name of inside.split('/').filter(Boolean)) {
    current = posix.join(current, name)
    makeFolder(current, owner)
  }
  return folder
}

function makeFolder(path: string, { uid, gid, mode }: FolderOwner): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat?.isDirectory()) return
  if (stat) {
    const facts = { errno: 'ENOTDIR', path }
    throw new SlipwayError('host.kernel-refused', `${path} is no folder, so nothing can be made in it.`, { facts })
  }
  try {
    mkdirSync(path, { mode })
    chownSync(path, uid, gid)
    chmodSync(path, mode) // mkdir(2) took the umask off it.
  } catch (error) {
    throw asKernelError(error, `make the folder ${path}`)
  }
}
