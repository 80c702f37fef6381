import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { readMounts } from './mount-table.ts'
import { run } from './run.ts'

const TIMEOUT_MS = 15 * 60_000

/**
 * Removes a folder with everything in it. coreutils' rm does it: it goes deeper than a path may be long (a container
 * can make such trees), leaves what is mounted inside alone, and a million files do not hold up the event loop.
 * A folder that is not there is no error.
 */
export async function removeTree(path: string, signal?: AbortSignal): Promise<void> {
  await run('rm', ['-rf', '--one-file-system', '--', path], { timeoutMs: TIMEOUT_MS, signal })
}

/** Removes a folder with everything in it, other devices too, as subvolumes are. Errors: `internal` where anything is mounted in it. */
export async function removeTreeAcross(path: string): Promise<void> {
  const mounts = await readMounts()
  if (mounts.some(({ target }) => target.startsWith(`${path}/`))) {
    throw new SlipwayError('internal', `Something is mounted in ${path}, which was to be removed.`)
  }
  await run('rm', ['-rf', '--', path], { timeoutMs: TIMEOUT_MS })
}

/**
 * An empty folder, made where there is none. The one that is there is kept: to make it anew takes room, which a full disk has not.
 */
export async function emptyFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  for (const name of await readdir(path)) await removeTree(join(path, name))
}
