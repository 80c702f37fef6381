import type { ContainerSpec } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import type { Snapshot } from '../snapshot/snapshotter.ts'
import type { HostPorts } from './ports.ts'

export type SnapshotPorts = Pick<HostPorts, 'runtime' | 'snapshots' | 'images'>

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
  const image = spec && (await ports.images.find(spec.imageDigest))
  if (!image) {
    throw new SlipwayError(
      'container.files-unavailable',
      `Container ${id} has no files on its host: it never started there, or is gone.`,
    )
  }
  const snapshot = await ports.snapshots.prepare(id, image.config.rootfs.diff_ids)
  const close = async () => {
    if (!(await hasProcess(ports, id))) await ports.snapshots.unmount(id)
  }
  return { ...snapshot, image, [Symbol.asyncDispose]: close }
}

/** Whether a container has a process, be it one that stands still or has not begun. */
export async function hasProcess({ runtime }: Pick<HostPorts, 'runtime'>, id: ContainerId): Promise<boolean> {
  return ['running', 'paused', 'created'].includes((await runtime.inspect(id)).state)
}
