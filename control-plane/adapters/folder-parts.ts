import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'

/**
 * Files on their way, in `.part` below a blob folder: nobody lists or reads them. `publish` moves one to its place, whole
 * and durable. One that was written to within two days outlives a restart, for uploads go on over several requests.
 */
export interface FolderParts {
  /** A new name; there is no file yet. */
  name(): string
  pathOf(name: string): string
  /** Moves a part to `target`, over what is there. The part's bytes must be durable already, if the name is to be so. */
  publish(name: string, target: string, isDurable?: boolean): Promise<void>
  /** The same unless `target` exists: then the part is removed. Returns whether it was moved. */
  publishIfAbsent(name: string, target: string): Promise<boolean>
  /** Removes a part; one that is not there is no error. */
  remove(name: string): Promise<void>
}

/** Names that `FolderParts.name` makes; anything else is not a part's. */
export const PART_NAME = /^[0-9a-f]{24}$/
const KEPT_MS = 2 * 24 * 3600 * 1000

export async function openFolderParts(folder: string, nowMs: number): Promise<FolderParts> {
  const place = join(folder, '.part')
  await mkdir(place, { recursive: true })
  await removeOld(place, nowMs - KEPT_MS)
  const pathOf = (name: string) => join(place, name)
  const remove = async (name: string) => {
    await unlink(pathOf(name)).catch(missing)
  }
  return {
    name: () => randomBytes(12).toString('hex'),
    pathOf,
    remove,
    publish: async (name, target, isDurable = true) => {
      await mkdir(dirname(target), { recursive: true })
      await rename(pathOf(name), target)
      if (isDurable) await syncPath(dirname(target))
    },
    publishIfAbsent: async (name, target) => {
      await mkdir(dirname(target), { recursive: true })
      const isNew = await link(pathOf(name), target).then(() => true, taken)
      await remove(name)
      if (isNew) await syncPath(dirname(target))
      return isNew
    },
  }
}

/** What uploads left that nobody went on with. */
async function removeOld(place: string, beforeMs: number): Promise<void> {
  for (const name of await readdir(place)) {
    const info = await stat(join(place, name)).catch(missing)
    if (info && info.mtimeMs < beforeMs) await unlink(join(place, name)).catch(missing)
  }
}

/** Makes a file's bytes, or a folder's names, durable. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

function taken(error: NodeJS.ErrnoException): false {
  if (error.code !== 'EEXIST') throw error
  return false
}

/** A failure of the file system with a code of the table; anything else (an uploader that broke off) as it is. */
export function folderFailure(error: unknown): unknown {
  const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const message = 'The blob store has no room left: free some, then upload again.'
    return new SlipwayError('host.disk-full', message, { cause: error })
  }
  return error
}

/** Work on the folder whose failures are told as `folderFailure` tells them. */
export async function failing<T>(work: Promise<T> | (() => Promise<T>)): Promise<T> {
  try {
    return await (typeof work === 'function' ? work() : work)
  } catch (error) {
    throw folderFailure(error)
  }
}

export const uploadGone = () => new SlipwayError('blob.not-found', 'This upload is no longer there: begin it again.')
