import { type BigIntStats, closeSync, constants, fstatSync, openSync, readlinkSync, readSync } from 'node:fs'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'
import { isKeptXattr } from './kept-xattrs.ts'
import { LAYER_ERRORS } from './layer-writer.ts'
import { invalidTar, MAX_META, MAX_PATH, SHOWN_NAME, type TarEntry, type TarEntryType, TOO_LONG } from './tar-format.ts'
import { encodeHeader, paddingOf } from './tar-writer.ts'

/** What is on the disk, as a tar has it. */

const READ_BYTES = 256 * 1024

export const PLAIN: Omit<TarEntry, 'type' | 'path'> = {
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  linkTarget: '',
  major: 0,
  minor: 0,
  xattrs: new Map(),
}

/**
 * An entry without its bytes. `firstNames` remembers files of several names: the others are links to the first. Throws `layer.invalid`
 * for what no reader of tars could make again: a name that is too long, more attributes than one entry may have.
 */
export function describe(at: Buffer, path: string, stat: BigIntStats, firstNames: Map<string, string>): TarEntry {
  if (path.length > MAX_PATH) throw invalidTar(LAYER_ERRORS, `has a name ${TOO_LONG}`, path.slice(0, SHOWN_NAME))
  const seconds = stat.mtimeNs >= 0n ? stat.mtimeNs / BILLION : -((-stat.mtimeNs + BILLION - 1n) / BILLION)
  const entry: TarEntry = {
    ...PLAIN,
    type: typeOf(stat, path),
    path: stat.isDirectory() && !path.endsWith('/') ? `${path}/` : path,
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: { seconds: Number(seconds), nanoseconds: Number(stat.mtimeNs - seconds * BILLION) },
  }
  if (!stat.isDirectory() && stat.nlink > 1n) {
    // Overlay shows the numbers of each of its layers, which alone do not tell files apart.
    const file = `${stat.dev}:${stat.ino}`
    const first = firstNames.get(file)
    if (first !== undefined) return { ...entry, type: 'hardlink', linkTarget: first }
    firstNames.set(file, path)
  }
  return {
    ...entry,
    size: stat.isFile() ? Number(stat.size) : 0,
    linkTarget: stat.isSymbolicLink() ? readlinkSync(at, 'latin1') : '',
    ...deviceOf(stat),
    xattrs: xattrsOf(at, path),
  }
}

const BILLION = 1_000_000_000n

function typeOf(stat: BigIntStats, path: string): TarEntryType {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'folder'
  if (stat.isSymbolicLink()) return 'symlink'
  if (stat.isCharacterDevice()) return 'character'
  if (stat.isBlockDevice()) return 'block'
  if (stat.isFIFO()) return 'fifo'
  throw invalidTar(LAYER_ERRORS, 'is of a kind that a tar cannot hold', path)
}

/** The reverse of what `mknod` of host/syscalls.ts does. */
function deviceOf({ rdev }: BigIntStats): { major: number; minor: number } {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  return { major: Number(major), minor: Number(minor) }
}

function xattrsOf(at: Buffer, path: string): ReadonlyMap<string, string> {
  const names = llistxattr(at).filter(isKeptXattr)
  const xattrs = new Map(
    names.map(name => [name, lgetxattr(at, Buffer.from(name, 'latin1'))?.toString('latin1') ?? '']),
  )
  const bytes = [...xattrs].reduce((sum, [name, value]) => sum + name.length + value.length + RECORD_BYTES, 0)
  if (bytes > MAX_META - NAMES_BYTES) {
    throw invalidTar(LAYER_ERRORS, 'has more than 1 MiB of attributes, which no tar can have: remove some', path)
  }
  return xattrs
}

/** What a pax record has around an attribute, and what the other records of an entry and their padding take at most. */
const RECORD_BYTES = 100
const NAMES_BYTES = 16 * 1024

/** Header, bytes and padding of an entry, while others may write: the size is the header's, whatever became of the file; zeros stand for what is not there. */
export function* liveContents(at: Buffer, entry: TarEntry): Generator<Buffer> {
  yield encodeHeader(entry)
  if (entry.size === 0) return
  for (let missing = yield* bytesOf(at, entry.size); missing > 0; missing -= READ_BYTES) {
    yield Buffer.alloc(Math.min(missing, READ_BYTES))
  }
  yield paddingOf(entry.size)
}

/** A file's first `size` bytes; returns how many are missing. What is no file any more has none. */
function* bytesOf(at: Buffer, size: number): Generator<Buffer, number> {
  const fd = openFile(at)
  if (fd === undefined) return size
  try {
    let left = size
    while (left > 0) {
      const bytes = Buffer.allocUnsafe(Math.min(left, READ_BYTES))
      const count = readSync(fd, bytes)
      if (count === 0) break
      yield bytes.subarray(0, count)
      left -= count
    }
    return left
  } finally {
    closeSync(fd)
  }
}

/** A pipe that took the file's place must not keep us waiting. */
function openFile(at: Buffer): number | undefined {
  try {
    const fd = openSync(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    if (fstatSync(fd).isFile()) return fd
    closeSync(fd)
    return undefined
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}
