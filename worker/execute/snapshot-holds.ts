import { SlipwayError } from '#shared/errors.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'

/**
 * Who in this process needs a container's filesystem mounted: a start until its process is there, and whoever reads the
 * files. What is held is not unmounted by those who clean up; the last one to leave does it.
 */
export interface SnapshotHolds {
  /** Errors: `container.files-unavailable` while they are taken away. */
  hold(id: string): Disposable
  isHeld(id: string): boolean
  /** The files are being taken away: nobody who comes meanwhile holds them. Takes nothing from those who do already. */
  close(id: string): Disposable
  /** How many were ever taken: the same as before means that nobody has come meanwhile. */
  taken(): number
}

export function snapshotHolds(): SnapshotHolds {
  const counts = new Map<string, number>()
  const closed = new Set<string>()
  let taken = 0
  return {
    hold: id => {
      if (closed.has(id)) {
        throw new SlipwayError('container.files-unavailable', `The files of ${id} are being taken away just now.`)
      }
      taken++
      counts.set(id, (counts.get(id) ?? 0) + 1)
      return {
        [Symbol.dispose]: () => {
          const left = (counts.get(id) ?? 1) - 1
          if (left > 0) counts.set(id, left)
          else counts.delete(id)
        },
      }
    },
    isHeld: id => counts.has(id),
    close: id => {
      closed.add(id)
      return { [Symbol.dispose]: () => void closed.delete(id) }
    },
    taken: () => taken,
  }
}

/** Nothing may be awaited between look and call: the snapshotter takes its calls in their order. */
export async function unmountUnlessHeld(
  { snapshots, holds }: { snapshots: Pick<Snapshotter, 'unmount'>; holds: SnapshotHolds },
  id: string,
): Promise<void> {
  if (!holds.isHeld(id)) await snapshots.unmount(id)
}
