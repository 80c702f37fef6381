import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { StorageFacts } from '#shared/domain/host.ts'
import { DriversTogether, type LeftDriver } from './drivers-together.ts'
import { folderOf, openDriver } from './probe.ts'

/**
 * Opens the driver that was chosen, and with it the others that were in use on this data folder before. Call `sweep`
 * before all else.
 */
export async function openDrivers(
  { driver, drivers }: StorageFacts,
  dataFolder: string,
  onTrouble: (error: unknown) => void,
): Promise<DriversTogether> {
  const folder = folderOf(driver, dataFolder)
  const chosen = { name: driver, folder, snapshots: await openDriver(driver, dataFolder, onTrouble) }
  const left: LeftDriver[] = []
  // Where two share a folder, one that works comes before one that does not.
  const worksFirst = drivers.toSorted((one, other) => Number(other.usable) - Number(one.usable))
  for (const { name, usable, reason } of worksFirst) {
    const folder = folderOf(name, dataFolder)
    if ([chosen, ...left].some(known => known.folder === folder) || !existsSync(join(folder, 'snapshots'))) continue
    const snapshots = await openDriver(name, dataFolder, onTrouble).catch((error: unknown) => onTrouble(error))
    left.push({ name, folder, snapshots: snapshots ?? undefined, reason: usable ? undefined : reason })
  }
  return new DriversTogether(chosen, left, { openedAt: Date.now(), onTrouble })
}
