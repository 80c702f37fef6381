import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { isId } from '#shared/domain/ids.ts'
import type { NetworkDriver } from '../network/network-driver.ts'
import { type ContainerFacts, type ImageFacts, isStale } from '../reconcile/facts.ts'
import { healthSince } from '../reconcile/health.ts'
import type { OciRuntime } from '../runtime/oci-runtime.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import { readRecord } from './container-record.ts'
import { readHealth } from './health-file.ts'

export interface ObservedPorts {
  runtime: OciRuntime
  snapshots: Snapshotter
  network: NetworkDriver
  containersFolder: string
  /** Of this start of the machine. */
  bootId: string
  /** Whether the snapshotter has anything of this id: a look at one folder. */
  hasSnapshot(id: string): boolean
  fetches: { state(want: DesiredContainer): Promise<ImageFacts> }
  holds: { isHeld(id: string): boolean }
}

/** Facts of one container: a few small reads and a look at two folders; no process, no list. `isHeld`: by a build. */
export async function observeContainer(
  ports: ObservedPorts,
  want: DesiredContainer,
  isHeld: boolean,
): Promise<ContainerFacts> {
  const { id } = want
  const folder = join(ports.containersFolder, id)
  const [process, record] = await Promise.all([ports.runtime.inspect(id), readRecord(folder)])
  const isAttached = ports.network.isAttached(id)
  // One that is there has its image: the question is worth asking before a run only, and before an update's.
  const isOver = process.state === 'absent' || process.state === 'exited'
  const image: ImageFacts =
    isOver || record.failure || isStale(want.spec, record) ? await ports.fetches.state(want) : { state: 'present' }
  const replaced = isStale(want.spec, record) ? record.spec : undefined
  const isBeginnable = replaced && (await ports.fetches.state({ ...want, spec: replaced })).state === 'present'
  const hasRemains = existsSync(folder) || ports.hasSnapshot(id) || isAttached
  const isRead = ports.holds.isHeld(id)
  const isLive = process.state === 'running' || process.state === 'paused'
  const health = isLive && record.health && healthSince(process.startedAt, record.health, await readHealth(folder))
  const isNewBoot = record.bootId !== undefined && record.bootId !== ports.bootId
  return {
    ...(health ? { health } : {}),
    ...(isNewBoot ? { isNewBoot } : {}),
    ...{ process, record, image, isHeld, isRead, isAttached, hasRemains },
    ...(isBeginnable ? { replaced } : {}),
  }
}

/** Every id that has anything on this host. Costs a listing of each port; for the full pass. */
export async function observedIds(ports: ObservedPorts): Promise<Set<string>> {
  const [folders, processes, snapshots, attachments] = await Promise.all([
    readdir(ports.containersFolder),
    ports.runtime.list(),
    ports.snapshots.list(),
    ports.network.list(),
  ])
  return new Set([
    ...folders.filter(isId),
    ...processes,
    ...snapshots.map(({ id }) => id),
    ...attachments.map(({ id }) => id),
  ])
}
