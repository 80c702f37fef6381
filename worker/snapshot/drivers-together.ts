import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Changes, Preparation, Snapshot, SnapshotInfo, SnapshotSize, Snapshotter } from './snapshotter.ts'

export interface ChosenDriver {
  name: string
  /** Its own, below the agent's data folder. */
  folder: string
  snapshots: Snapshotter
}

/** A driver that was in use here before. */
export interface LeftDriver extends Omit<ChosenDriver, 'snapshots'> {
  /** Undefined: it cannot even be opened, so what it has is out of reach. */
  snapshots: Snapshotter | undefined
  /** Why it can mount nothing now; undefined where it can. */
  reason: string | undefined
}

type OpenDriver = ChosenDriver | (LeftDriver & { snapshots: Snapshotter })

/**
 * The chosen driver and those that were in use before, as one: a snapshot stays with the driver that has its files, for
 * another one could only begin it anew; what is new goes to the chosen one. What others have is counted and removed like
 * the chosen one's, but that their layers are kept for snapshots alone.
 */
export class DriversTogether implements Snapshotter {
  readonly name: string
  readonly #chosen: ChosenDriver
  readonly #left: readonly LeftDriver[]
  readonly #openedAt: number
  readonly #onTrouble: (error: unknown) => void

  constructor(
    chosen: ChosenDriver,
    left: readonly LeftDriver[],
    { openedAt, onTrouble }: { openedAt: number; onTrouble: (error: unknown) => void },
  ) {
    this.name = chosen.name
    this.#chosen = chosen
    this.#left = left
    this.#openedAt = openedAt
    this.#onTrouble = onTrouble
  }

  /** Whether a driver that can be opened has anything of a snapshot: a look at a folder each. */
  has(id: string): boolean {
    return this.#open().some(driver => hasFolder(driver, id))
  }

  async hasLayer(diffId: Digest, id?: string): Promise<boolean> {
    const home = id === undefined ? undefined : (await this.#homeOf(id)).snapshots
    return (await home?.hasLayer(diffId)) || (await this.#chosen.snapshots.hasLayer(diffId))
  }

  addLayer(diffId: Digest, tar: AsyncIterable<Uint8Array>, verify: () => Promise<void>): Promise<void> {
    return this.#chosen.snapshots.addLayer(diffId, tar, verify)
  }

  async prepare(id: string, diffIds: readonly Digest[], how?: Preparation): Promise<Snapshot> {
    const home = await this.#homeOf(id)
    const snapshots = isLeft(home) ? await able(home, id, diffIds) : home.snapshots
    return snapshots.prepare(id, diffIds, how)
  }

  async openChanges(id: string): Promise<Changes> {
    const home = await this.#homeOf(id)
    if (!home.snapshots) throw outOfReach(id, home.name, 'cannot be opened here')
    return home.snapshots.openChanges(id)
  }

  adoptUpper(id: string, diffId: Digest): Promise<void> {
    return this.#chosen.snapshots.adoptUpper(id, diffId)
  }

  async list(): Promise<SnapshotInfo[]> {
    const lists = await Promise.all(this.#open().map(({ snapshots }) => snapshots.list()))
    const found = new Map<string, SnapshotInfo>()
    for (const info of lists.flat()) if (!found.get(info.id)?.isMounted) found.set(info.id, info)
    return [...found.values()]
  }

  async layers(): Promise<Digest[]> {
    const lists = await Promise.all(this.#open().map(({ snapshots }) => snapshots.layers()))
    return [...new Set(lists.flat())]
  }

  /** A layer that two drivers have takes room twice, and is once in a container. */
  async layerSize(diffId: Digest, id?: string): Promise<number> {
    if (id !== undefined) return (await (await this.#homeOf(id)).snapshots?.layerSize(diffId)) ?? 0
    if (this.#openLeft().length === 0) return this.#chosen.snapshots.layerSize(diffId)
    let bytes = 0
    for (const { snapshots } of this.#open()) bytes += await snapshots.layerSize(diffId)
    return bytes
  }

  async snapshotSize(id: string): Promise<SnapshotSize> {
    const home = await this.#homeOf(id)
    let takenBytes = 0
    let writtenBytes = 0
    for (const driver of this.#open().filter(driver => hasFolder(driver, id))) {
      const size = await driver.snapshots.snapshotSize(id)
      takenBytes += size.takenBytes
      if (driver === home) writtenBytes = size.writtenBytes
    }
    return { writtenBytes, takenBytes }
  }

  async unmount(id: string): Promise<void> {
    for (const { snapshots } of this.#concerned(id)) await snapshots.unmount(id)
  }

  async remove(id: string): Promise<void> {
    for (const { snapshots } of this.#concerned(id)) await snapshots.remove(id)
  }

  /** What came before this process counts as used when it began: whoever goes back at once finds the layers there. */
  async sweepLayers(kept: ReadonlySet<Digest>, olderThan: number): Promise<Digest[]> {
    const removed = await this.#chosen.snapshots.sweepLayers(kept, olderThan)
    if (olderThan <= this.#openedAt) return removed
    for (const { snapshots } of this.#openLeft()) removed.push(...(await snapshots.sweepLayers(new Set(), olderThan)))
    return [...new Set(removed)]
  }

  async spareLayers(kept: ReadonlySet<Digest>): Promise<Map<Digest, number>> {
    const spare = await this.#chosen.snapshots.spareLayers(kept)
    for (const { snapshots } of this.#openLeft()) {
      for (const [layer, bytes] of await snapshots.spareLayers(new Set()))
        spare.set(layer, bytes + (spare.get(layer) ?? 0))
    }
    return spare
  }

  async settled(): Promise<void> {
    await Promise.all(this.#open().map(({ snapshots }) => snapshots.settled()))
  }

  /** What another driver cannot tidy up keeps no agent from its work. */
  async sweep(): Promise<void> {
    await this.#chosen.snapshots.sweep()
    for (const { snapshots } of this.#openLeft()) await snapshots.sweep().catch(this.#onTrouble)
  }

  #openLeft(): OpenDriver[] {
    return this.#left.filter(isOpen)
  }

  #open(): OpenDriver[] {
    return [this.#chosen, ...this.#openLeft()]
  }

  /** Drivers that a removal reaches: the chosen one always, since it may be at the snapshot just now. */
  #concerned(id: string): OpenDriver[] {
    return [this.#chosen, ...this.#openLeft().filter(driver => hasFolder(driver, id))]
  }

  /** Where two have one, it is that in which it is mounted now, else the chosen driver's. */
  async #homeOf(id: string): Promise<ChosenDriver | LeftDriver> {
    const left = this.#left.filter(driver => hasFolder(driver, id))
    if (left.length === 0) return this.#chosen
    for (const driver of left) {
      if (await isMounted(driver, id)) return driver
    }
    return hasFolder(this.#chosen, id) ? this.#chosen : (left[0] ?? this.#chosen)
  }
}

/** The driver that was left, if it can give out its snapshot: mounted already, or able to mount it. */
async function able(home: LeftDriver, id: string, diffIds: readonly Digest[]): Promise<Snapshotter> {
  const { name, snapshots, reason } = home
  if (!snapshots) throw outOfReach(id, name, 'cannot be opened here')
  if (await isMounted(home, id)) return snapshots
  if (reason !== undefined) throw outOfReach(id, name, `cannot work here now: ${reason}`)
  const found = await Promise.all(diffIds.map(diffId => snapshots.hasLayer(diffId)))
  if (!found.every(Boolean)) throw outOfReach(id, name, 'no longer has all layers below them')
  return snapshots
}

function outOfReach(id: string, name: string, why: string): SlipwayError {
  return new SlipwayError(
    'host.storage-unusable',
    `The files of ${id} lie with the storage driver ${name}, and are left as they are. This driver ${why.replace(/\.$/, '')}. ` +
      `Start the host's agent with SLIPWAY_STORAGE_DRIVER=${name} once it can work, or make a new container.`,
    { facts: { driver: name } },
  )
}

function isLeft(driver: ChosenDriver | LeftDriver): driver is LeftDriver {
  return 'reason' in driver
}

function isOpen(driver: LeftDriver): driver is LeftDriver & { snapshots: Snapshotter } {
  return driver.snapshots !== undefined
}

function hasFolder({ folder }: { folder: string }, id: string): boolean {
  return existsSync(join(folder, 'snapshots', id))
}

async function isMounted({ snapshots }: LeftDriver | ChosenDriver, id: string): Promise<boolean> {
  return (await snapshots?.list())?.some(found => found.id === id && found.isMounted) === true
}
