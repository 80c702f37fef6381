import { readdir, realpath, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from './kernel-error.ts'
import { readMounts } from './mount-table.ts'

/** A filesystem's own folder at its root, which is of whoever made it. */
const OF_FILESYSTEM = 'lost+found'

/**
 * Removes a folder with everything in it but what is mounted inside, which nobody enters. Where the folder itself is a mount
 * point it is emptied and stays. Returns the mount points that stay. A folder that is not there is no error.
 */
export async function removeAroundMounts(folder: string): Promise<string[]> {
  const place = await realpath(folder).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (place === undefined) return []
  const targets = new Set((await readMounts()).map(({ target }) => target))
  const staying = [...targets].filter(target => target === place || target.startsWith(`${place}/`))
  await removeIn(place, staying)
  return staying
}

async function removeIn(place: string, staying: readonly string[]): Promise<void> {
  if (!staying.some(target => target === place || target.startsWith(`${place}/`))) {
    return rm(place, { recursive: true, force: true })
  }
  const isMountPoint = staying.includes(place)
  for (const name of await readdir(place)) {
    const path = join(place, name)
    if (staying.includes(path) || (isMountPoint && name === OF_FILESYSTEM)) continue
    await removeIn(path, staying)
  }
  const isLeft = isMountPoint || staying.some(target => target.startsWith(`${place}/`))
  if (!isLeft) await rmdir(place)
}
