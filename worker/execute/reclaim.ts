import type { Digest } from '#shared/digest.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { unreachable } from '#shared/errors.ts'
import type { ImageStore } from '../image/image-store.ts'
import type { ReclaimAction, StoreFacts } from '../reconcile/plan-reclaim.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'

export interface ReclaimPorts {
  images: Pick<ImageStore, 'list' | 'remove'>
  snapshots: Pick<Snapshotter, 'sweepLayers' | 'settled'>
  /** The build cache. */
  cachedSteps(): Promise<StoreFacts['cachedSteps']>
  removeCachedStep(key: string): Promise<void>
  /** Asks the API to have one removed that has ended. Never rejects: a later pass asks again. */
  expireContainer(id: ContainerId): Promise<void>
}

/**
 * Gives up what a plan says, and then every layer that nothing names, that came before `unusedSince` (Unix milliseconds)
 * and was not asked for since. A crash in between leaves layers without a name, which the next call removes.
 */
export async function reclaim(
  ports: ReclaimPorts,
  actions: readonly ReclaimAction[],
  unusedSince: number,
): Promise<Digest[]> {
  for (const action of actions) await giveUp(ports, action)
  const [images, steps] = await Promise.all([ports.images.list(), ports.cachedSteps()])
  const named = [...images.flatMap(({ layers }) => layers), ...steps.flatMap(({ layer }) => layer ?? [])]
  return ports.snapshots.sweepLayers(new Set(named), unusedSince)
}

function giveUp(ports: ReclaimPorts, action: ReclaimAction): Promise<void> {
  switch (action.kind) {
    case 'removeImage':
      return ports.images.remove(action.digest)
    case 'removeCachedStep':
      return ports.removeCachedStep(action.key)
    case 'expireContainer':
      return ports.expireContainer(action.id)
    default:
      return unreachable(action)
  }
}
