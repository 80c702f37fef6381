import { lstatSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import { setMtime } from '../host/set-mtime.ts'
import { MOUNT_POINTS } from '../runtime/mount-points.ts'

export interface MountPoints {
  /** The runtime has made what was missing, and the command does not run yet. */
  made(): void
  /** Takes away what the runtime made. */
  remove(): void
}

/**
 * Mount points are no change of the command's: those that are missing now are removed again, and folders that they were
 * made in have the time of before, unless the command changed something there too. `more` are paths that this command has
 * mounts at.
 */
export function watchMountPoints(rootfs: string, more: readonly string[] = []): MountPoints {
  const paths = [...MOUNT_POINTS.keys(), ...more].map(path => posix.join('/', path))
  // What is in a folder comes before it.
  const all = new Set(paths.flatMap(withFolders).sort((a, b) => depth(b) - depth(a)))
  const missing = [...all].map(path => resolveInRootSync(rootfs, path, false)).filter(at => mtimeOf(at) === undefined)
  const before = timesOf(new Set(missing.map(dirname)))
  let made = before
  return {
    made: () => {
      made = timesOf(before.keys())
    },
    remove: () => {
      const untouched = [...before].filter(([folder]) => mtimeOf(folder) === made.get(folder))
      for (const at of missing) removeEmpty(at)
      for (const [folder, time] of untouched) if (mtimeOf(folder) !== undefined) setMtime(folder, time)
    },
  }
}

const depth = (path: string) => path.split('/').length

/** A path and the folders that it is in, but for the root. */
function withFolders(path: string): string[] {
  const names = path.split('/').filter(Boolean)
  return names.map((_, at) => `/${names.slice(0, at + 1).join('/')}`)
}

function timesOf(paths: Iterable<string>): Map<string, bigint> {
  const times = new Map<string, bigint>()
  for (const path of paths) {
    const time = mtimeOf(path)
    if (time !== undefined) times.set(path, time)
  }
  return times
}

function mtimeOf(path: string): bigint | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs
}

/** Empty folders and files only: what the command put there stays. */
function removeEmpty(at: string): void {
  const stat = lstatSync(at, { throwIfNoEntry: false })
  if (stat?.isFile() && stat.size === 0) rmSync(at)
  else if (stat?.isDirectory() && readdirSync(at).length === 0) rmdirSync(at)
}
