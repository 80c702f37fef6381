import { lstatSync, readdirSync } from 'node:fs'
import { posix } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { nearestOf } from '#shared/nearest.ts'
import { hasMeta } from '../dockerfile/glob.ts'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import type { KnownDigests } from './digest-sources.ts'

/** A folder of the host that sources are looked for in, and what people call it. */
export interface SourceRoot {
  path: string
  name: string
  /** The file that leaves this path out of it, if one does. */
  ignoredBy?(path: string): string | undefined
  /** Of its files, as far as they are known. */
  digests?: KnownDigests | undefined
  /** A digest of the file that leaves files out of it. */
  leftOut?: string | undefined
}

const SHOWN = 10

/** The fault for a source that is not there: with the nearest name, or with what is there. */
export function missingSource(root: SourceRoot, pattern: string): SlipwayError {
  const wanted = posix.normalize(`/${pattern}`).slice(1)
  const ignoredBy = root.ignoredBy?.(wanted)
  const why = ignoredBy === undefined ? nearby(root, wanted) : `${ignoredBy} leaves it out`
  const message = `${JSON.stringify(pattern)} is not in ${root.name}: ${why}.`
  return new SlipwayError('build.source-not-found', message, { facts: { source: pattern } })
}

/** Of the first folder on the way that lacks the next name. */
function nearby(root: SourceRoot, wanted: string): string {
  const segments = wanted.split('/').filter(Boolean)
  let folder = ''
  for (const segment of segments) {
    const next = posix.join(folder, segment)
    if (hasMeta(segment) || !lstatSync(resolveInRootSync(root.path, next), { throwIfNoEntry: false })) {
      return telling(namesIn(root.path, folder), segment, folder)
    }
    folder = next
  }
  return 'it is gone'
}

function telling(names: string[], segment: string, folder: string): string {
  const near = hasMeta(segment) ? undefined : nearestOf(segment, names)
  if (near !== undefined) return `did you mean ${posix.join(folder, near)}?`.replace(/\?$/, '')
  const shown = names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '')
  return `${folder === '' ? 'it has' : `${folder} has`} ${shown || 'nothing'}`
}

function namesIn(root: string, folder: string): string[] {
  const path = resolveInRootSync(root, folder)
  if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return []
  return readdirSync(path).sort()
}
