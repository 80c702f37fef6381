import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { StorageFacts } from '#shared/domain/host.ts'
import { SlipwayError } from '#shared/errors.ts'
import { createSubvolume, removeWithSubvolumes, snapshotSubvolume } from '#worker/host/btrfs.ts'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { mountOverlay, type OverlayMount, unmount, unmountBelow } from '#worker/host/mount.ts'
import { mountFuseOverlay } from '#worker/host/mount-fuse-overlay.ts'
import { erofsOverlay, probeErofs } from './erofs-overlay.ts'
import { FUSE_OVERLAY } from './fuse-overlay.ts'
import { openOverlaySnapshotter } from './overlay-snapshotter.ts'
import type { Snapshotter } from './snapshotter.ts'
import { BTRFS, openTreeSnapshotter, VFS } from './tree-snapshotter.ts'
import { destroyZfsTrees, openZfsTrees, tryZfs } from './zfs-trees.ts'

/** What a crash leaves bears this name. */
const PROBE = '.probe-'
/** As statfs(2) has it. */
const BTRFS_TYPE = 0x9123683e

interface Driver {
  name: string
  /** Where its data lie, below the agent's. */
  folder: string
  /** What to know before it is chosen. */
  note?: string
  /** Tries what the driver needs in an empty folder on the disk that it would use. Throws what is in the way. */
  tryOut(folder: string): Promise<void>
  open(folder: string, onTrashLeft: (error: unknown) => void): Promise<Snapshotter>
}

/** The best first. */
const DRIVERS: readonly Driver[] = [
  { name: 'erofs', folder: 'overlay', tryOut: tryErofs, open: openErofs },
  {
    name: 'overlay',
    folder: 'overlay',
    tryOut: folder => tryOverlay(folder, async overlay => mountOverlay(overlay)),
    open: (folder, onTrashLeft) => openOverlaySnapshotter(folder, onTrashLeft),
  },
  {
    name: 'btrfs',
    folder: 'btrfs',
    tryOut: tryBtrfs,
    open: (folder, onTrashLeft) => openTreeSnapshotter(folder, BTRFS, onTrashLeft),
  },
  {
    name: 'zfs',
    folder: 'zfs',
    tryOut: folder => tryZfs(folder),
    open: async (folder, onTrashLeft) => openTreeSnapshotter(folder, await openZfsTrees(folder), onTrashLeft),
  },
  {
    name: 'fuse-overlayfs',
    folder: 'fuse-overlayfs',
    note:
      'Of a file that an image has under several names (hard links), what is written is lost or lands under another of them ' +
      'when the container stops: fuse-overlayfs copies it up under one name alone.',
    tryOut: folder => tryOverlay(folder, mountFuseOverlay),
    open: (folder, onTrashLeft) => openOverlaySnapshotter(folder, onTrashLeft, FUSE_OVERLAY),
  },
  {
    name: 'vfs',
    folder: 'vfs',
    tryOut: async folder => writeFileSync(join(folder, 'file'), ''),
    open: (folder, onTrashLeft) => openTreeSnapshotter(folder, VFS, onTrashLeft),
  },
]

/**
 * Which drivers can work on this data folder, found by trying each, and the one to use: `forced`; else one whose data are
 * there already (the best of them that works, so that containers find their files again); else the best that works.
 * Throws `host.storage-unusable`.
 */
export async function probeDrivers(folder: string, forced?: string): Promise<StorageFacts> {
  const dataFolder = realpathSync(folder) // As the mount table will have it.
  for (const left of readdirSync(dataFolder).filter(name => name.startsWith(PROBE))) {
    await unmountBelow(join(dataFolder, left))
    await destroyZfsTrees(join(dataFolder, left))
    await removeWithSubvolumes(join(dataFolder, left))
  }
  const drivers = []
  for (const driver of DRIVERS) drivers.push(await probe(driver, dataFolder))
  const usable = drivers.filter(({ usable }) => usable)
  if (forced !== undefined) {
    const found = drivers.find(({ name }) => name === forced)
    if (found?.usable) return { driver: forced, drivers }
    const known = DRIVERS.map(({ name }) => name).join(', ')
    const why = found ? `cannot work here: ${found.reason}` : `is none of ${known}.`
    throw new SlipwayError('host.storage-unusable', `SLIPWAY_STORAGE_DRIVER: ${forced} ${why}`)
  }
  const chosen = usable.find(({ name }) => hasData(dataFolder, name)) ?? usable[0]
  if (chosen) return { driver: chosen.name, drivers }
  const reasons = drivers.map(({ name, reason }) => `${name}: ${reason}`).join(' ')
  throw new SlipwayError('host.storage-unusable', `No storage driver works on ${dataFolder}. ${reasons}`)
}

/** Opens a driver on its own folder below the data folder. Call `sweep` before all else. */
export function openDriver(
  name: string,
  dataFolder: string,
  onTrashLeft: (error: unknown) => void,
): Promise<Snapshotter> {
  return driverOf(name).open(folderOf(name, dataFolder), onTrashLeft)
}

/** Where a driver keeps everything, below the agent's data folder. */
export function folderOf(name: string, dataFolder: string): string {
  return join(dataFolder, driverOf(name).folder)
}

function driverOf(name: string): Driver {
  const driver = DRIVERS.find(known => known.name === name)
  if (!driver) throw new SlipwayError('internal', `There is no storage driver ${name}.`)
  return driver
}

function hasData(dataFolder: string, name: string): boolean {
  return existsSync(join(folderOf(name, dataFolder), 'snapshots'))
}

async function tryErofs(folder: string): Promise<void> {
  if ((await probeErofs(folder)) === undefined)
    throw new Error('This kernel cannot mount layers: Linux 6.4 and later can.')
}

async function openErofs(folder: string, onTrashLeft: (error: unknown) => void): Promise<Snapshotter> {
  return openOverlaySnapshotter(folder, onTrashLeft, erofsOverlay((await probeErofs(folder)) ?? 'loop'))
}

async function probe({ name, tryOut, note }: Driver, dataFolder: string) {
  let folder: string | undefined
  try {
    folder = mkdtempSync(join(dataFolder, PROBE))
    await tryOut(folder)
    return { name, usable: true, ...(note === undefined ? {} : { note }) }
  } catch (error) {
    // On a full disk nothing can be tried, and an agent has to begin there too: what was in use works on.
    if (isFull(error) && hasData(dataFolder, name)) return { name, usable: true }
    return { name, usable: false, reason: error instanceof Error ? error.message : String(error) }
  } finally {
    if (folder) await removeWithSubvolumes(folder)
  }
}

function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '')
}

/** A file of the layer below must show, and one that is written must land in the writable folder. */
async function tryOverlay(folder: string, mount: (overlay: OverlayMount) => Promise<void>): Promise<void> {
  const inside = (name: string) => join(folder, name)
  const [lower, upper, work, target] = [inside('lower'), inside('upper'), inside('work'), inside('target')] as const
  for (const path of [lower, upper, work, target]) mkdirSync(path)
  writeFileSync(join(lower, 'below'), 'below')
  await mount({ lower: [lower], upper, work, target })
  try {
    readFileSync(join(target, 'below'))
    writeFileSync(join(target, 'written'), '')
    closeSync(openSync(join(upper, 'written'), constants.O_RDONLY))
  } finally {
    await unmount(target)
  }
}

async function tryBtrfs(folder: string): Promise<void> {
  if (statfsSync(folder).type !== BTRFS_TYPE) {
    throw new Error('The data folder does not lie on btrfs: put SLIPWAY_DATA on a disk with it.')
  }
  createSubvolume(join(folder, 'tree'))
  snapshotSubvolume(join(folder, 'tree'), join(folder, 'copy'))
}
