import type { Logger } from 'pino'
import type { Digest } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { HostUsage } from '#shared/protocol/agent.ts'
import type { PruneOrder } from '#shared/protocol/bus.ts'
import type { PrunedHost } from '#shared/protocol/prune-host.ts'
import { type ReclaimPorts, reclaim } from '../execute/reclaim.ts'
import type { DiskReserve } from '../host/disk-reserve.ts'
import { diskRoom, logBytes, observeStores, type StorePorts, sizesOf } from '../observe/store-facts.ts'
import { type ContainerFiles, usageOf } from '../reconcile/disk-usage.ts'
import type { ContainerFacts } from '../reconcile/facts.ts'
import { planPrune, prunedBy } from '../reconcile/plan-prune.ts'
import { planReclaim, type ReclaimAction } from '../reconcile/plan-reclaim.ts'
import { endedContainers } from './ended-containers.ts'

export interface DiskKeeperOptions {
  ports: StorePorts & ReclaimPorts
  reserve: DiskReserve
  clock: Clock
  log: Logger
  /** Shares of the disk: above `high` room is made until `low`. What was used for less than `minAgeMs` stays. */
  marks: { high: number; low: number; minAgeMs: number }
  wanted(): readonly DesiredContainer[]
  isLive(id: ContainerId): Promise<boolean>
  observe(want: DesiredContainer): Promise<ContainerFacts>
  /** When the oldest build or pull that is not over began: what it made may have no name yet. */
  busySince(): number | undefined
  /** Removes what a crash left in the build cache before then. */
  sweepCache(olderThan: number): Promise<void>
  report(usage: HostUsage): void
}

export interface DiskKeeper {
  /** Makes room where there is too little, and removes layers that nothing names. */
  makeRoom(): Promise<void>
  /** Gives up what somebody asks for, but for what a build or pull that runs may need. */
  prune(terms: PruneOrder): Promise<PrunedHost>
  /** Measures what takes room and says it. Walks what containers wrote: for the background. */
  measure(): Promise<void>
}

/** A layer that is younger may belong to a crash whose build or pull comes again soon. */
const UNNAMED_MS = 60 * 60_000
/** Where the disk has room: what crashes left does not come often. */
const SWEEP_EVERY_MS = 10 * 60_000

/** For files to go from the disk; a disk that is slower than that is looked at again in the next pass. */
const SETTLE_MS = 5 * 60_000

/** Keeps the host's disk from filling up, and says what takes its room. */
export function createDiskKeeper(options: DiskKeeperOptions): DiskKeeper {
  const { ports, reserve, clock, log, marks, wanted, busySince } = options
  /** What came into use later than this may be in use without a name. */
  const unusedSince = (ageMs: number) => Math.min(clock.now() - ageMs, busySince() ?? Number.POSITIVE_INFINITY)

  let sweptAt = Number.NEGATIVE_INFINITY
  const isFull = async () => {
    const { totalBytes, freeBytes } = await diskRoom(ports.dataFolder)
    return totalBytes - freeBytes > marks.high * totalBytes
  }
  /** Until the room is there: who looked before would give up as much again. */
  const giveUp = async (actions: readonly ReclaimAction[], usedBefore: number) => {
    const layers = await reclaim(ports, actions, usedBefore)
    const inTime = new AbortController()
    await Promise.race([ports.snapshots.settled(), clock.sleep(SETTLE_MS, inTime.signal)])
    inTime.abort()
    return layers
  }
  const plan = async (usedBefore: number): Promise<ReclaimAction[]> => {
    const ended = await endedContainers(options, clock.now())
    return planReclaim(await observeStores(ports, wanted()), ended, { ...marks, usedBefore })
  }
  const makeRoom = async () => {
    const kept = await reserve.keep().catch((error: unknown) => log.warn({ err: error }, 'no room could be reserved'))
    if (kept === 'given up') log.warn('the disk is full to its last blocks')
    const wasFull = await isFull()
    if (!wasFull && clock.now() - sweptAt < SWEEP_EVERY_MS) return
    sweptAt = clock.now()
    const usedBefore = unusedSince(wasFull ? marks.minAgeMs : UNNAMED_MS)
    await options.sweepCache(usedBefore)
    const layers = await giveUp([], usedBefore) // What nothing names costs nobody anything.
    const planned = (await isFull()) ? await plan(usedBefore) : []
    if (planned.length > 0) layers.push(...(await giveUp(planned, usedBefore)))
    if (planned.length + layers.length > 0) log.info({ plan: planned, layers }, 'room was made on the disk')
  }
  const prune = async ({ unusedForMs, ...order }: PruneOrder) => {
    const usedBefore = unusedSince(unusedForMs)
    if (order.buildCache) await options.sweepCache(usedBefore)
    const stores = await observeStores(ports, wanted())
    const planned = planPrune(stores, { ...order, usedBefore })
    const layers = await reclaim(ports, planned, usedBefore)
    log.info({ plan: planned, layers }, 'what was asked for was given up')
    return prunedBy(stores, planned, await sizesOf(ports, stores.layerBytes.keys()))
  }
  const measure = async () => {
    const stores = await observeStores(ports, wanted())
    const containers: ContainerFiles[] = []
    // One behind the other: nobody waits, and the disk is for the containers.
    const layersOf = new Map(stores.images.map(({ digest, layers }) => [digest, layers]))
    for (const want of wanted())
      containers.push(await filesOf(options, want, layersOf.get(want.spec.imageDigest) ?? []))
    options.report(usageOf(stores, containers, clock.now()))
  }
  return { makeRoom, prune, measure }
}

async function filesOf(
  { ports, isLive }: DiskKeeperOptions,
  want: DesiredContainer,
  layers: readonly Digest[],
): Promise<ContainerFiles> {
  const none = { writtenBytes: 0, takenBytes: 0 }
  const size = await ports.snapshots.snapshotSize(want.id).catch(() => none) // It may be leaving.
  const imageBytes = [...(await sizesOf(ports, layers, want.id)).values()].reduce((sum, bytes) => sum + bytes, 0)
  return { want, ...size, imageBytes, logBytes: await logBytes(ports, want.id), isLive: await isLive(want.id) }
}
