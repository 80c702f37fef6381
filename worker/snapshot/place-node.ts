import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  readlinkSync,
  symlinkSync,
} from 'node:fs'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { lgetxattr, llistxattr, lsetxattr, mknod, setTimes } from '#worker/host/syscalls.ts'
import { isKeptXattr } from '#worker/layer/kept-xattrs.ts'

/** What a hard link cannot do here: another filesystem or subvolume, or too many names. */
const NO_LINK = new Set(['EXDEV', 'EMLINK', 'EPERM'])
const BILLION = 1_000_000_000n

/** Names of files that were copied, by `fileOf`: their other names become links to the copy. Of one tree and one pass. */
export type Copied = Map<string, Buffer>

/** Tells files apart also across subvolumes, each of which counts its own. */
export const fileOf = ({ dev, ino }: BigIntStats) => `${dev}:${ino}`

/**
 * Gives a file, link or device another name, or makes a copy (sharing blocks where the filesystem can) where it cannot
 * have one there. `from` and `to` are never followed.
 */
export function placeNode(from: Buffer, stat: BigIntStats, to: Buffer, copied: Copied): void {
  try {
    linkSync(copied.get(fileOf(stat)) ?? from, to)
  } catch (error) {
    if (!NO_LINK.has(errnoOf(error) ?? '')) throw error
    copyNode(from, stat, to)
    if (stat.nlink > 1n) copied.set(fileOf(stat), to)
  }
}

function copyNode(from: Buffer, stat: BigIntStats, to: Buffer): void {
  if (stat.isFile()) copyFile(from, to)
  else if (stat.isSymbolicLink()) symlinkSync(readlinkSync(from, 'buffer'), to)
  else mknod(to, Number(stat.mode & 0o170000n) | 0o600, ...deviceOf(stat))
  copyMetadata(from, stat, to)
}

/** Of the file itself: what took its place meanwhile is no file, and is not there. */
function copyFile(from: Buffer, to: Buffer): void {
  const fd = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) throw Object.assign(new Error('no file any more'), { code: 'ENOENT' })
    copyFileSync(`/proc/self/fd/${fd}`, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  } finally {
    closeSync(fd)
  }
}

/** Makes a folder, empty and as the given one is; `setTimeLike` gives it its time again once it is filled. */
export function makeFolderLike(from: Buffer, stat: BigIntStats, to: Buffer): void {
  mkdirSync(to, { mode: 0o700 })
  copyMetadata(from, stat, to)
}

/** Owner first: its change takes set-user-ID and capabilities away. */
export function copyMetadata(from: Buffer, stat: BigIntStats, to: Buffer): void {
  lchownSync(to, Number(stat.uid), Number(stat.gid))
  if (!stat.isSymbolicLink()) chmodSync(to, Number(stat.mode & 0o7777n))
  for (const name of llistxattr(from).filter(isKeptXattr)) {
    const bytes = Buffer.from(name, 'latin1')
    const value = lgetxattr(from, bytes)
    if (value) lsetxattr(to, bytes, value)
  }
  setTimeLike(stat, to)
}

export function setTimeLike({ mtimeNs }: BigIntStats, to: Buffer): void {
  const seconds = (mtimeNs - (((mtimeNs % BILLION) + BILLION) % BILLION)) / BILLION
  setTimes(to, Number(seconds), Number(mtimeNs - seconds * BILLION))
}

/** The reverse of what `mknod` of host/syscalls.ts does. */
function deviceOf({ rdev }: BigIntStats): [major: number, minor: number] {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  return [Number(major), Number(minor)]
}
