import type { LayerSize } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findBlobs, setUnpackedBytes } from '../store/blobs.ts'

/**
 * What hosts say of the tars in layer blobs. Nothing is decided by it: a wrong word makes a wrong figure, no more. The
 * first word stays, and one that differs is noted.
 */
export async function takeLayerSizes(ports: Ports, layers: readonly LayerSize[]): Promise<void> {
  if (layers.length === 0) return
  await setUnpackedBytes(ports.db, layers)
  const rows = await findBlobs(
    ports.db,
    layers.map(({ digest }) => digest),
  )
  const known = new Map(rows.map(({ digest, unpackedBytes }) => [digest, unpackedBytes]))
  const others = layers.filter(({ digest, unpackedBytes }) => (known.get(digest) ?? unpackedBytes) !== unpackedBytes)
  if (others.length > 0) ports.note('hosts differ about the unpacked size of layers; the first word stays', { others })
}
