import { type Dirent, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import type { RootFiles } from './root-files.ts'

const MAX_ENTRIES = 1_000_000
const MAX_DEPTH = 64
const NOT_OF_IMAGE = new Set(['/proc', '/sys', '/dev'])

/** Names of the files of one folder, links on the way followed inside the root. */
export function filesOf({ root }: RootFiles, folder: string): string[] {
  const entries = entriesOf(resolveInRootSync(root, folder))
  return entries.filter(entry => entry.isFile()).map(({ name }) => `${folder}/${name}`)
}

/**
 * Paths of all files that `isWanted`, in order of names. Follows no links, so that each file is met once and nothing outside; beyond
 * a million entries it ends with a warning.
 */
export async function findFiles(files: RootFiles, isWanted: (path: string) => boolean): Promise<string[]> {
  const found: string[] = []
  const left: { path: string; depth: number }[] = [{ path: '', depth: 0 }]
  let count = 0
  for (let folder = left.pop(); folder; folder = left.pop()) {
    await setImmediate() // Folders may be many, and nothing else of this process would run.
    files.signal.throwIfAborted()
    const { path, depth } = folder
    const entries = entriesOf(join(files.root, path))
    count += entries.length
    if (count > MAX_ENTRIES || depth > MAX_DEPTH) {
      files.warn(path, 'there are too many files to look at them all')
      continue
    }
    for (const entry of entries) {
      const inside = `${path}/${entry.name}`
      if (entry.isDirectory() && !NOT_OF_IMAGE.has(inside)) left.push({ path: inside, depth: depth + 1 })
      else if (entry.isFile() && isWanted(inside)) found.push(inside)
    }
  }
  return found.sort()
}

function entriesOf(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true })
  } catch {
    return [] // Missing, no folder, or of a name that is no text.
  }
}
