import { stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ImageStore } from '../image/image-store.ts'
import type { StoreFacts } from '../reconcile/plan-reclaim.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import { readRecord } from './container-record.ts'

export interface StorePorts {
  images: Pick<ImageStore, 'list'>
  snapshots: Pick<Snapshotter, 'layers' | 'layerSize' | 'spareLayers' | 'list' | 'snapshotSize'>
  cachedSteps(): Promise<StoreFacts['cachedSteps']>
  containersFolder: string
  dataFolder: string
}

export async function diskRoom(dataFolder: string): Promise<Pick<StoreFacts, 'totalBytes' | 'freeBytes'>> {
  const { blocks, bavail, bsize } = await statfs(dataFolder)
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize }
}

/** What the stores hold. Reads a small file for each image, cached step, layer, snapshot and updated container; walks nothing. */
export async function observeStores(ports: StorePorts, wanted: readonly DesiredContainer[]): Promise<StoreFacts> {
  const held = new Set<Digest>()
  for (const { id, goal, spec } of wanted) {
    if (goal.kind === 'removed') continue
    held.add(spec.imageDigest)
    // What an update is to replace may have to be begun again.
    const runs = spec.revision ? (await readRecord(join(ports.containersFolder, id))).spec : undefined
    if (runs) held.add(runs.imageDigest)
  }
  const [room, images, cachedSteps, layers] = await Promise.all([
    diskRoom(ports.dataFolder),
    ports.images.list(),
    ports.cachedSteps(),
    ports.snapshots.layers(),
  ])
  const named = [...images.flatMap(image => image.layers), ...cachedSteps.flatMap(({ layer }) => layer ?? [])]
  return {
    ...room,
    images: images.map(image => ({ ...image, isHeld: held.has(image.digest) })),
    cachedSteps,
    layerBytes: await sizesOf(ports, layers),
    spareBytes: await ports.snapshots.spareLayers(new Set(named)),
  }
}

/** Bytes of each layer, as `Snapshotter.layerSize` has them. */
export async function sizesOf(
  { snapshots }: Pick<StorePorts, 'snapshots'>,
  layers: Iterable<Digest>,
  snapshot?: string,
): Promise<Map<Digest, number>> {
  const sizes = new Map<Digest, number>()
  // One that cannot be read may be leaving.
  for (const layer of new Set(layers)) sizes.set(layer, await snapshots.layerSize(layer, snapshot).catch(() => 0))
  return sizes
}

/** Bytes of a container's log; 0 where there is none yet. */
export async function logBytes(
  { containersFolder }: Pick<StorePorts, 'containersFolder'>,
  id: string,
): Promise<number> {
  return (await stat(join(containersFolder, id, 'log')).catch(() => undefined))?.size ?? 0
}
