import { createHash, type Hash } from 'node:crypto'
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import { posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'
import { resolveInRoot } from '../host/rooted-fs.ts'
import { hasMeta, segmentPattern } from './glob.ts'

/** A file or folder to copy: where it is on the host, and the name that the Dockerfile knows it by. */
export interface Source {
  path: string
  name: string
  isFolder: boolean
  isPattern: boolean
}

const READ_BYTES = 256 * 1024

/**
 * What `patterns` name inside `root`: links followed, never out of it. Throws `build.source-not-found` for one that
 * names nothing. Cost: a listing of each folder that a pattern goes through.
 */
export async function findSources(root: string, patterns: readonly string[], where: string): Promise<Source[]> {
  const found: Source[] = []
  for (const pattern of patterns) {
    const names = expandPattern(root, posix.normalize(`/${pattern}`))
    for (const name of await names) {
      const path = await resolveInRoot(root, name)
      const stat = lstatSync(path, { throwIfNoEntry: false })
      if (stat) found.push({ path, name, isFolder: stat.isDirectory(), isPattern: hasMeta(pattern) })
    }
    if (found.length === 0 || (await names).length === 0) throw notFound(pattern, where)
  }
  return found
}

function notFound(pattern: string, where: string): SlipwayError {
  const message = `${JSON.stringify(pattern)} is not in ${where}: see the path, and what .dockerignore leaves out.`
  return new SlipwayError('build.source-not-found', message, { facts: { source: pattern } })
}

async function expandPattern(root: string, pattern: string): Promise<string[]> {
  let names = ['/']
  for (const segment of pattern.split('/').filter(Boolean)) {
    const next: string[] = []
    for (const name of names) next.push(...(await children(root, name, segment)))
    names = next
  }
  return names
}

async function children(root: string, name: string, segment: string): Promise<string[]> {
  if (!hasMeta(segment)) {
    const path = await resolveInRoot(root, posix.join(name, segment))
    return lstatSync(path, { throwIfNoEntry: false }) ? [posix.join(name, segment)] : []
  }
  const pattern = segmentPattern(segment)
  const folder = await resolveInRoot(root, name)
  if (!pattern || !lstatSync(folder, { throwIfNoEntry: false })?.isDirectory()) return []
  return readdirSync(folder)
    .filter(child => pattern.test(child))
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
  const stat = lstatSync(path)
  hash.update(`${JSON.stringify(inside)} ${stat.mode.toString(8)} ${detail(path, stat)}${attributes(path)}\n`)
  if (stat.isFile()) await digestFile(hash, path)
  if (!stat.isDirectory()) return
  for (const name of readdirSync(path).sort()) {
    await digestTree(hash, posix.join(path, name), posix.join(inside, name), signal)
  }
}

function detail(path: string, stat: Stats): string {
  if (stat.isSymbolicLink()) return JSON.stringify(readlinkSync(path))
  return stat.isFile() ? String(stat.size) : String(stat.rdev)
}

function attributes(path: string): string {
  return llistxattr(path)
    .sort()
    .map(name => ` ${name}=${lgetxattr(path, name)?.toString('hex')}`)
    .join('')
}

async function digestFile(hash: Hash, path: string): Promise<void> {
  await using file = await open(path, 'r')
  const buffer = Buffer.alloc(READ_BYTES)
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, null)
    if (bytesRead === 0) return
    hash.update(buffer.subarray(0, bytesRead))
  }
}
