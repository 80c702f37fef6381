import { createHash, type Hash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, type Stats } from 'node:fs'
import { posix } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'
import { type IgnoreRule, rulesAbout } from '../dockerfile/ignore-rules.ts'
import { bytesOf, readable } from './byte-paths.ts'
import type { Source } from './copy-sources.ts'

const READ_BYTES = 256 * 1024
/** Between two pauses, in which everything else of this process goes on. A file costs as much as so many of its bytes. */
const BYTES_AT_A_TIME = 4 * 1024 * 1024
const BYTES_A_FILE = 16 * 1024
/** Of one tree: more than that are not asked by one project. */
const REMEMBERED = 1000
const KNOWN_FILES = 2_000_000

/** What is known of a tree whose files nobody writes into: asked, and filled with what was read. */
export interface KnownDigests {
  /** Of files' bytes, by inode. */
  files: Map<number, KnownDigest>
  /** Of sources, by what was asked (`rememberedDigest`); only for as long as the tree is the same. */
  sources: Map<string, string>
}

/** `before`: of a tree of which some files are others now. Those that are gone stay known, within a bound. */
export function newDigests(before?: KnownDigests): KnownDigests {
  const files = before && before.files.size < KNOWN_FILES ? before.files : new Map()
  return { files, sources: new Map() }
}

/** The digest of sources that `asked` tells, in a tree of which this is known: read once. */
export async function rememberedDigest(
  known: KnownDigests | undefined,
  asked: unknown,
  digest: () => Promise<string>,
): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify(asked)).digest('base64')
  const before = known?.sources.get(key)
  if (before !== undefined) return before
  const found = await digest()
  if (known && known.sources.size >= REMEMBERED) known.sources.clear()
  known?.sources.set(key, found)
  return found
}

/** An inode's number may be another file's after a while, which was made later. */
interface KnownDigest {
  birthtimeMs: number
  mtimeMs: number
  size: number
  digest: Buffer
}

export interface DigestTerms {
  /** What they leave out is not copied, and so does not count. */
  excludes?: readonly IgnoreRule[]
  known?: KnownDigests['files'] | undefined
  /** Whose files they are counts: a copy keeps that of another image's. */
  withOwners?: boolean
}

interface Digesting extends Required<Omit<DigestTerms, 'known'>>, Pick<DigestTerms, 'known'> {
  hash: Hash
  buffer: Buffer
  pause(cost: number): Promise<void>
  signal: AbortSignal
}

/**
 * A digest of everything of the sources that a layer keeps, but for times and, unless asked for, owners: a fresh checkout is no change. File calls
 * are made one by one without waiting (for small files several times as fast as Node's asynchronous ones), with pauses.
 */
export async function digestSources(
  sources: readonly Source[],
  signal: AbortSignal,
  { excludes = [], known, withOwners = false }: DigestTerms = {},
): Promise<string> {
  const hash = createHash('sha256')
  const work = {
    hash,
    excludes,
    withOwners,
    signal,
    known,
    buffer: Buffer.allocUnsafe(READ_BYTES),
    pause: pauses(signal),
  }
  for (const { path, name, parents } of sources) {
    hash.update(`source ${JSON.stringify([name, parents])}\n`)
    await digestTree(work, path, '', new Set())
  }
  return hash.digest('hex')
}

function pauses(signal: AbortSignal): Digesting['pause'] {
  let done = 0
  return async cost => {
    done += cost
    if (done < BYTES_AT_A_TIME) return
    done = 0
    await setImmediate()
    signal.throwIfAborted()
  }
}

async function digestTree(
  work: Digesting,
  path: string,
  inside: string,
  above: ReadonlySet<IgnoreRule>,
): Promise<void> {
  const { hash, excludes, withOwners, signal } = work
  signal.throwIfAborted()
  const stat = lstatSync(bytesOf(path))
  const { about, isIgnored } =
    inside === '' ? { about: above, isIgnored: false } : rulesAbout(readable(inside), excludes, above)
  if (isIgnored && !stat.isDirectory()) return
  if (!isIgnored) {
    const owner = withOwners ? ` ${stat.uid}:${stat.gid}` : ''
    const detailed = detail(path, stat) + owner + attributes(path)
    hash.update(`${JSON.stringify(inside)} ${stat.mode.toString(8)} ${detailed}\n`)
  }
  if (stat.isFile()) hash.update(await fileDigest(work, path, stat))
  if (!stat.isDirectory()) return
  for (const name of readdirSync(bytesOf(path), 'latin1').sort()) {
    await digestTree(work, posix.join(path, name), posix.join(inside, name), about)
  }
}

function detail(path: string, stat: Stats): string {
  if (stat.isSymbolicLink()) return JSON.stringify(readlinkSync(bytesOf(path), 'latin1'))
  return stat.isFile() ? String(stat.size) : String(stat.rdev)
}

function attributes(path: string): string {
  const bytes = bytesOf(path)
  return llistxattr(bytes)
    .sort()
    .map(name => ` ${name}=${lgetxattr(bytes, bytesOf(name))?.toString('hex')}`)
    .join('')
}

/** Apart from the tree's, so that it can be known before. */
async function fileDigest(work: Digesting, path: string, stat: Stats): Promise<Buffer> {
  const { ino, birthtimeMs, mtimeMs, size } = stat
  await work.pause(BYTES_A_FILE)
  const before = work.known?.get(ino)
  if (before && isOf(before, stat)) return before.digest
  const digest = await readDigest(work, path, size)
  work.known?.set(ino, { birthtimeMs, mtimeMs, size, digest })
  return digest
}

/** A file system that keeps no births (0) has nothing that is known. */
function isOf(known: KnownDigest, { birthtimeMs, mtimeMs, size }: Stats): boolean {
  return birthtimeMs > 0 && birthtimeMs === known.birthtimeMs && mtimeMs === known.mtimeMs && size === known.size
}

async function readDigest({ buffer, pause }: Digesting, path: string, size: number): Promise<Buffer> {
  const hash = createHash('sha256')
  const file = openSync(bytesOf(path), 'r')
  try {
    for (let at = 0; at < size; ) {
      const count = readSync(file, buffer)
      if (count === 0) break
      hash.update(buffer.subarray(0, count))
      at += count
      if (at < size) await pause(count)
    }
    return hash.digest()
  } finally {
    closeSync(file)
  }
}
