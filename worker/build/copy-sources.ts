import { lstatSync, readdirSync } from 'node:fs'
import { posix } from 'node:path'
import { hasMeta, segmentPattern } from '../dockerfile/glob.ts'
import { resolveBytesInRoot } from '../host/rooted-fs.ts'
import { bytesOf, latin1, readable } from './byte-paths.ts'
import { missingSource, type SourceRoot } from './missing-source.ts'

/** A file or folder to copy: where it is on the host, and its name in its root. Latin-1 both, as `byte-paths` has it. */
export interface Source {
  path: string
  name: string
  isFolder: boolean
  /** Folders that are made in the destination to hold it, outermost first; none unless parents are kept. */
  parents: Parent[]
}

export interface CopySource extends Source {
  /** It came from an address. */
  isRemote?: boolean
}

export interface Parent {
  /** From the destination on. */
  path: string
  mode: number
}

/** Deeper trees and more matches are no work of a person. */
const MATCHES_LIMIT = 1_000_000

/**
 * What `patterns` name inside `root`: links followed, never out of it; `**` is any number of folders. Throws
 * `build.source-not-found` for a name that is not there, with what is there nearby; a pattern may find nothing, as with
 * BuildKit (`AllowEmptyWildcard`). Cost: a listing of each folder that a pattern goes through.
 */
export function findSources(root: SourceRoot, patterns: readonly string[], keepsParents = false): Source[] {
  return patterns.flatMap(pattern => {
    const found = expandPattern(latin1(root.path), latin1(posix.normalize(`/${pattern}`)))
    if (found.length === 0 && !mayFindNothing(pattern)) throw missingSource(root, pattern)
    return keepsParents ? found.map(source => withParents(root.path, source, pattern)) : found
  })
}

/** A right pattern, and not one that is written as one to name a single file, as `a\\*`. */
function mayFindNothing(pattern: string): boolean {
  return /(?<!\\)[*?[]/.test(pattern) && pattern.split('/').every(segment => segmentPattern(segment) !== undefined)
}

function expandPattern(root: string, pattern: string): Source[] {
  let names = ['/']
  for (const segment of pattern.split('/').filter(Boolean)) {
    names = names.flatMap(name => (segment === '**' ? foldersBelow(root, name) : children(root, name, segment)))
    if (names.length > MATCHES_LIMIT) names.length = MATCHES_LIMIT
  }
  return [...new Set(names)].flatMap(name => {
    const path = resolveBytesInRoot(root, name)
    const stat = lstatSync(bytesOf(path), { throwIfNoEntry: false })
    return stat ? [{ path, name, isFolder: stat.isDirectory(), parents: [] }] : []
  })
}

function children(root: string, name: string, segment: string): string[] {
  if (!hasMeta(segment)) {
    const child = posix.join(name, segment)
    return lstatSync(bytesOf(resolveBytesInRoot(root, child)), { throwIfNoEntry: false }) ? [child] : []
  }
  const matches = segmentPattern(readable(segment))
  if (!matches) return []
  return namesIn(root, name)
    .filter(child => matches([...readable(child)]))
    .map(child => posix.join(name, child))
}

function namesIn(root: string, name: string): string[] {
  const folder = bytesOf(resolveBytesInRoot(root, name))
  if (!lstatSync(folder, { throwIfNoEntry: false })?.isDirectory()) return []
  return readdirSync(folder, 'latin1').sort()
}

/** The folder itself and all in it, links not followed: they could lead around in a circle. */
function foldersBelow(root: string, name: string): string[] {
  const found = [name]
  for (const folder of found) {
    if (found.length > MATCHES_LIMIT) break
    for (const child of namesIn(root, folder)) {
      const path = posix.join(folder, child)
      if (lstatSync(bytesOf(posix.join(root, path)), { throwIfNoEntry: false })?.isDirectory()) found.push(path)
    }
  }
  return found
}

/** The folders between the root, or `/./` in the pattern, and the source (Dockerfile reference, "COPY --parents"). */
function withParents(root: string, source: Source, pattern: string): Source {
  const pivot = pattern.indexOf('/./')
  const before =
    pivot < 0
      ? 0
      : posix
          .normalize(`/${pattern.slice(0, pivot)}`)
          .split('/')
          .filter(Boolean).length
  const segments = source.name.split('/').filter(Boolean)
  const last = source.isFolder ? segments.length : segments.length - 1
  const parents: Parent[] = []
  for (let end = before + 1; end <= last; end++) {
    const at = resolveBytesInRoot(latin1(root), segments.slice(0, end).join('/'))
    const mode = lstatSync(bytesOf(at)).mode & 0o7777
    parents.push({ path: readable(segments.slice(before, end).join('/')), mode })
  }
  return { ...source, parents }
}
