import { join } from 'node:path'
import type { ContainerSpec } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { readRecord } from '../observe/container-record.ts'
import { isStale } from '../reconcile/facts.ts'
import type { Snapshot } from '../snapshot/snapshotter.ts'
import type { HostPorts } from './ports.ts'
import { unmountUnlessHeld } from './snapshot-holds.ts'

export type SnapshotPorts = Pick<HostPorts, 'runtime' | 'snapshots' | 'holds' | 'images' | 'containersFolder'>

/** A container's filesystem while it is looked at. */
export interface OpenSnapshot extends Snapshot, AsyncDisposable {
  image: ResolvedImage
}

/**
 * The filesystem of a container, whether it runs or not: that of one that has ended is mounted for as long as it is not
 * disposed of. `spec` is undefined for one that nobody wants here (any more). Errors: `container.files-unavailable`.
 */
export async function openSnapshot(
  ports: SnapshotPorts,
  id: ContainerId,
  spec: ContainerSpec | undefined,
): Promise<OpenSnapshot> {
  if (spec && isStale(spec, await readRecord(join(ports.containersFolder, id)))) {
    const message = `Container ${id} is being updated: its files are of the image before, and go. Try again once it runs.`
    throw new SlipwayError('container.files-unavailable', message)
  }
  const image = spec && (await ports.images.find(spec.imageDigest, id))
  if (!image) {
    throw new SlipwayError(
      'container.files-unavailable',
      `Container ${id} has no files on its host: it never started there, or is gone.`,
    )
  }
  await using undo = new AsyncDisposableStack()
  undo.defer(() => unmountUnneeded(ports, id))
  undo.use(ports.holds.hold(id))
  const snapshot = await ports.snapshots.prepare(id, image.config.rootfs.diff_ids)
  const opened = undo.move()
  return { ...snapshot, image, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** For one whose hold is given back: unmounts when no process and no other holder needs it. */
async function unmountUnneeded(ports: SnapshotPorts, id: ContainerId): Promise<void> {
  for (let taken = -1; taken !== ports.holds.taken(); ) {
    taken = ports.holds.taken()
    // Whoever held it while we looked may have started a process since.
    if (ports.holds.isHeld(id) || (await hasProcess(ports, id))) return
  }
  await unmountUnlessHeld(ports, id)
}

/** Whether a container has a process, be it one that stands still or has not begun. */
export async function hasProcess({ runtime }: Pick<HostPorts, 'runtime'>, id: ContainerId): Promise<boolean> {
  return ['running', 'paused', 'created'].includes((await runtime.inspect(id)).state)
}
