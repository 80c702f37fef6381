import { createHash, type Hash } from 'node:crypto'
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import { posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'
import { resolveBytesInRoot } from '../host/rooted-fs.ts'
import { bytesOf, latin1, readable } from './byte-paths.ts'
import { hasMeta, segmentPattern } from './glob.ts'

/** A file or folder to copy: where it is on the host, and its name in its root. Latin-1 both, as `byte-paths` has it. */
export interface Source {
  path: string
  name: string
  isFolder: boolean
}

const READ_BYTES = 256 * 1024

/**
 * What `patterns` name inside `root`: links followed, never out of it. Throws `build.source-not-found` for one that
 * names nothing. Cost: a listing of each folder that a pattern goes through.
 */
export function findSources(root: string, patterns: readonly string[], where: string): Source[] {
  return patterns.flatMap(pattern => {
    const found = expandPattern(latin1(root), latin1(posix.normalize(`/${pattern}`)))
    if (found.length === 0) throw notFound(pattern, where)
    return found
  })
}

function notFound(pattern: string, where: string): SlipwayError {
  const message = `${JSON.stringify(pattern)} is not in ${where}: see the path, and what .dockerignore leaves out.`
  return new SlipwayError('build.source-not-found', message, { facts: { source: pattern } })
}

function expandPattern(root: string, pattern: string): Source[] {
  let names = ['/']
  for (const segment of pattern.split('/').filter(Boolean)) names = names.flatMap(name => children(root, name, segment))
  return names.flatMap(name => {
    const path = resolveBytesInRoot(root, name)
    const stat = lstatSync(bytesOf(path), { throwIfNoEntry: false })
    return stat ? [{ path, name, isFolder: stat.isDirectory() }] : []
  })
}

function children(root: string, name: string, segment: string): string[] {
  if (!hasMeta(segment)) {
    const child = posix.join(name, segment)
    return lstatSync(bytesOf(resolveBytesInRoot(root, child)), { throwIfNoEntry: false }) ? [child] : []
  }
  const matches = segmentPattern(readable(segment))
  const folder = bytesOf(resolveBytesInRoot(root, name))
  if (!matches || !lstatSync(folder, { throwIfNoEntry: false })?.isDirectory()) return []
  return readdirSync(folder, 'latin1')
    .filter(child => matches([...readable(child)]))
    .sort()
    .map(child => posix.join(name, child))
}

/** A digest of everything of the sources that a layer keeps, but for times and owners: a fresh checkout is no change. */
export async function digestSources(sources: readonly Source[], signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for (const { path, name } of sources) {
    hash.update(`source ${JSON.stringify(name)}\n`)
    await digestTree(hash, path, '', signal)
  }
  return hash.digest('hex')
}

async function digestTree(hash: Hash, path: string, inside: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const stat = lstatSync(bytesOf(path))
  hash.update(`${JSON.stringify(inside)} ${stat.mode.toString(8)} ${detail(path, stat)}${attributes(path)}\n`)
  if (stat.isFile()) await digestFile(hash, path)
  if (!stat.isDirectory()) return
  for (const name of readdirSync(bytesOf(path), 'latin1').sort()) {
    await digestTree(hash, posix.join(path, name), posix.join(inside, name), signal)
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
