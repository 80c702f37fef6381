import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { DesiredContainer, FileChange } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError, unreachable } from '#shared/errors.ts'
import type { ContainerOrder, LogsOrder } from '#shared/protocol/bus.ts'
import type { HealthLog } from '#shared/protocol/container-life.ts'
import { changesOf } from '../layer/changes.ts'
import { tarOfTree } from '../layer/tree-tar.ts'
import { readHealth } from '../observe/health-file.ts'
import { healthOf } from '../reconcile/health.ts'
import { readLog } from '../runtime/logs.ts'
import { MOUNT_POINTS } from '../runtime/mount-points.ts'
import { hasProcess, type OpenSnapshot, openSnapshot, type SnapshotPorts } from './container-snapshot.ts'
import type { HostPorts } from './ports.ts'
import { logPathOf } from './run-container.ts'

/** Between two batches other work of this process goes on. */
const BATCH_ITEMS = 500

export type StreamPorts = SnapshotPorts & Pick<HostPorts, 'clock' | 'containersFolder'>

/**
 * What a host is asked to send of one of its containers. `wanted` finds it in desired state. Errors, at once or while it
 * is read: `container.logs-unavailable`, `container.files-unavailable`, the kernel's.
 */
export function openContainerStream(
  order: ContainerOrder,
  ports: StreamPorts,
  wanted: (id: ContainerId) => DesiredContainer | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const want = wanted(order.containerId)
  switch (order.kind) {
    case 'logs':
      return inLines(logOf(order, ports, want !== undefined, signal))
    case 'changes':
      return ofFiles(ports, order.containerId, want, () => inLines(changesIn(ports, order.containerId)))
    case 'health':
      return inLines(healthIn(ports, order.containerId))
    case 'export':
      return ofFiles(ports, order.containerId, want, ({ rootfs }) => tarOfTree(rootfs))
    default:
      return unreachable(order)
  }
}

function logOf(order: LogsOrder, ports: StreamPorts, isWanted: boolean, signal: AbortSignal) {
  const path = logPathOf(ports, order.containerId)
  // One that never ran has written nothing: an empty log, as Docker has it.
  if (!isWanted && !existsSync(path)) {
    throw new SlipwayError(
      'container.logs-unavailable',
      `There is no log of container ${order.containerId} on its host, which does not know it (any more).`,
    )
  }
  const isLive = () => hasProcess(ports, order.containerId)
  return readLog({ path, clock: ports.clock, signal, isLive }, order)
}

/** Of the last process that was checked. */
async function* healthIn({ containersFolder }: StreamPorts, id: ContainerId): AsyncGenerator<HealthLog[], void> {
  const state = await readHealth(join(containersFolder, id))
  if (!state)
    throw new SlipwayError('container.health-check-missing', `Container ${id} was not checked yet, or never is.`)
  yield [{ ...healthOf(state), log: state.log }]
}

/** The files of a container that has stopped are mounted for as long as somebody reads them. */
async function* ofFiles(
  ports: StreamPorts,
  id: ContainerId,
  want: DesiredContainer | undefined,
  read: (snapshot: OpenSnapshot) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  await using snapshot = await openSnapshot(ports, id, want?.spec)
  yield* read(snapshot)
  snapshot.requireWhole()
}

async function* changesIn({ snapshots }: StreamPorts, id: ContainerId): AsyncGenerator<FileChange[], void> {
  await using changes = await snapshots.openChanges(id)
  yield* inBatches(changesOf(changes.upper, changes.lower, new Set(MOUNT_POINTS.keys())))
}

async function* inBatches<T>(items: Iterable<T>): AsyncGenerator<T[], void> {
  let batch: T[] = []
  for (const item of items) {
    if (batch.push(item) < BATCH_ITEMS) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

/** Each item in JSON on a line of its own. */
async function* inLines(batches: AsyncIterable<readonly unknown[]>): AsyncGenerator<Uint8Array, void> {
  for await (const items of batches) {
    yield new TextEncoder().encode(items.map(item => `${JSON.stringify(item)}\n`).join(''))
  }
}
