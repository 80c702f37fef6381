import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { ContainerSpec } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { pinFolder } from '#worker/host/pinned-folder.ts'
import { readRecord } from '../observe/container-record.ts'
import type { Snapshot } from '../snapshot/snapshotter.ts'
import type { HostPorts } from './ports.ts'
import { unmountUnlessHeld } from './snapshot-holds.ts'

export type SnapshotPorts = Pick<HostPorts, 'runtime' | 'snapshots' | 'holds' | 'images' | 'containersFolder'>

/** A container's filesystem while it is looked at. */
export interface OpenSnapshot extends Snapshot, AsyncDisposable {
  image: ResolvedImage
  /**
   * For whoever has read the files: what was taken away meanwhile looks like files that are not there. Throws
   * `container.files-unavailable`.
   */
  requireWhole(): void
}

/**
 * The filesystem of a container, whether it runs or not: that of one that has ended is mounted for as long as it is not
 * disposed of; until then no update takes it, but a removal does. `spec`: what it was when its files were asked for, undefined for one
 * that nobody wants here (any more). Errors: `container.files-unavailable`.
 */
export async function openSnapshot(
  ports: SnapshotPorts,
  id: ContainerId,
  spec: ContainerSpec | undefined,
): Promise<OpenSnapshot> {
  const hold = ports.holds.hold(id) // From here on no update takes the files: what is found out about them stays so.
  await using undo = new AsyncDisposableStack()
  undo.defer(() => unmountUnneeded(ports, id))
  undo.use(hold)
  const image = await imageBelow(ports, id, spec)
  const snapshot = await ports.snapshots.prepare(id, image.config.rootfs.diff_ids)
  const pinned = undo.use(pinFolder(dirname(snapshot.rootfs)))
  const opened = undo.move()
  const requireWhole = () => {
    if (!pinned.isThere()) throw unavailable(`Container ${id} was removed while its files were read.`)
  }
  return { ...snapshot, image, requireWhole, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** The image that the files are of. Whoever made a snapshot where there is none, or is another's, would read what never was. */
async function imageBelow(
  ports: SnapshotPorts,
  id: ContainerId,
  spec: ContainerSpec | undefined,
): Promise<ResolvedImage> {
  const folder = join(ports.containersFolder, id)
  const image = spec && existsSync(folder) && (await ports.images.find(spec.imageDigest, id))
  if (!image) throw unavailable(`Container ${id} has no files on its host: it never started there, or is gone.`)
  const [has, wanted] = [(await readRecord(folder)).revision ?? 0, spec.revision ?? 0]
  if (has === wanted) return image
  throw unavailable(
    has < wanted
      ? `Container ${id} is being updated: its files are of the image before, and go. Try again once it runs.`
      : `Container ${id} was updated after its files were asked for: those are gone. Ask again for what it is now.`,
  )
}

function unavailable(message: string): SlipwayError {
  return new SlipwayError('container.files-unavailable', message)
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
