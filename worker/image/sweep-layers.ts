import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import { readImage } from './oci-image-store.ts'

const IMAGE = /^[0-9a-f]{64}\.json$/

export interface SweepOptions {
  imagesFolder: string
  snapshots: Pick<Snapshotter, 'sweepLayers'>
  /** Layers that something else names: the build cache. */
  kept: Iterable<Digest>
  /** Unix milliseconds: younger layers may belong to work that is under way. */
  olderThan: number
}

/** Removes layers that a crash left between being made and being named by an image, and says which. */
export async function sweepLayers({ imagesFolder, snapshots, kept, olderThan }: SweepOptions): Promise<Digest[]> {
  const named = new Set(kept)
  for (const name of (await readdir(imagesFolder)).filter(file => IMAGE.test(file))) {
    const image = await readImage(join(imagesFolder, name))
    for (const diffId of image?.config.rootfs.diff_ids ?? []) named.add(diffId)
  }
  return snapshots.sweepLayers(named, olderThan)
}
