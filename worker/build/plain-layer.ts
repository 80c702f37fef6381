import { createReadStream } from 'node:fs'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { decompress } from '../layer/decompress.ts'
import type { PackedLayer } from '../layer/pack.ts'
import type { SharedWork } from './build-work.ts'

/**
 * Takes a packed layer that is no snapshot of a build's into the host's layers, so that the image can be run here
 * without fetching anything. It is uploaded from where it is, and goes with the build's folder: no step gave it, so
 * no step of the cache would ever be asked for it, and nothing there would give it up.
 */
export async function keepLayer(packed: PackedLayer, { ports, ownLayers, keeps }: SharedWork): Promise<StepResult> {
  const { diffId, unpackedBytes, compression, digest, size, path, isEmpty } = packed
  const created = new Date(ports.clock.now()).toISOString()
  if (isEmpty) return { created }
  await ports.snapshots.addLayer(diffId, decompress(compression, createReadStream(path)), async () => {})
  ownLayers.set(digest, path)
  keeps(unpackedBytes)
  return { created, layer: { diffId, unpackedBytes, compression, digest, size } }
}
