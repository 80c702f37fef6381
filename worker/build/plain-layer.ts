import { createReadStream } from 'node:fs'
import { rename } from 'node:fs/promises'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { decompress } from '../layer/decompress.ts'
import type { PackedLayer } from '../layer/pack.ts'
import type { SharedWork } from './build-work.ts'

/**
 * Takes a packed layer that is no snapshot of a build's: into the host's layers, so that the image can be run here
 * without fetching anything, and into the cache's folder, from where it is uploaded. The file at `path` is moved.
 */
export async function keepLayer(packed: PackedLayer, { ports, cache, keeps }: SharedWork): Promise<StepResult> {
  const { diffId, unpackedBytes, compression, digest, size, path, isEmpty } = packed
  const created = new Date(ports.clock.now()).toISOString()
  if (isEmpty) return { created }
  await ports.snapshots.addLayer(diffId, decompress(compression, createReadStream(path)), async () => {})
  await rename(path, cache.blobPath(digest))
  keeps(unpackedBytes)
  return { created, layer: { diffId, unpackedBytes, compression, digest, size } }
}
