import { createHash, type Hash } from 'node:crypto'
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import { posix } from 'node:path'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'
import { type IgnoreRule, rulesAbout } from '../dockerfile/ignore-rules.ts'
import { bytesOf, readable } from './byte-paths.ts'
import type { Source } from './copy-sources.ts'

const READ_BYTES = 256 * 1024

interface Digesting {
  hash: Hash
  /** What they leave out is not copied, and so does not count. */
  excludes: readonly IgnoreRule[]
  signal: AbortSignal
}

/** A digest of everything of the sources that a layer keeps, but for times and owners: a fresh checkout is no change. */
export async function digestSources(
  sources: readonly Source[],
  signal: AbortSignal,
  excludes: readonly IgnoreRule[] = [],
): Promise<string> {
  const hash = createHash('sha256')
  for (const { path, name, parents } of sources) {
    hash.update(`source ${JSON.stringify([name, parents])}\n`)
    await digestTree({ hash, excludes, signal }, path, '', new Set())
  }
  return hash.digest('hex')
}

async function digestTree(
  work: Digesting,
  path: string,
  inside: string,
  above: ReadonlySet<IgnoreRule>,
): Promise<void> {
  const { hash, excludes, signal } = work
  signal.throwIfAborted()
  const stat = lstatSync(bytesOf(path))
  const { about, isIgnored } =
    inside === '' ? { about: above, isIgnored: false } : rulesAbout(readable(inside), excludes, above)
  if (isIgnored && !stat.isDirectory()) return
  if (!isIgnored) {
    hash.update(`${JSON.stringify(inside)} ${stat.mode.toString(8)} ${detail(path, stat)}${attributes(path)}\n`)
  }
  if (stat.isFile()) await digestFile(hash, path)
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

async function digestFile(hash: Hash, path: string): Promise<void> {
  await using file = await open(bytesOf(path), 'r')
  const buffer = Buffer.alloc(READ_BYTES)
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, null)
    if (bytesRead === 0) return
    hash.update(buffer.subarray(0, bytesRead))
  }
}
