import { DEVICE, EROFS_BLOCK, EROFS_BLOCK_BITS, HOLE } from './erofs-format.ts'
import type { StoredData } from './tar-reader.ts'
import type { Extent } from './tar-sparse.ts'

/** Where the chunks of a file with holes are. All but the last have 2^`bits` bytes. */
export interface ChunkMap {
  bits: number
  /** Of each chunk: the block at which it begins on its device, or `HOLE`. */
  blocks: Uint32Array<ArrayBuffer>
  devices: Uint8Array<ArrayBuffer>
  /** Blocks of the image that hold chunks of which the tar has only parts, or not at a multiple of 512. */
  copiedBlocks: number
}

/** Bounds what one file's map takes: 2 MiB. Larger files get larger chunks. */
const MAX_CHUNKS = 2 ** 18

/**
 * Maps a file with holes: a chunk that the tar has whole and at a multiple of 512 points there, one without data is a
 * hole, and every other one is to be copied into the image, from block `firstCopy` on.
 */
export function mapChunks(size: number, { position, extents = [] }: StoredData, firstCopy: number): ChunkMap {
  const bits = chunkBits(size, extents)
  const count = Math.ceil(size / 2 ** bits)
  const map: ChunkMap = {
    ...{ bits, copiedBlocks: 0 },
    ...{ blocks: new Uint32Array(count).fill(HOLE), devices: new Uint8Array(count) },
  }
  let at = position
  for (const extent of extents) {
    mapExtent(map, size, extent, at, firstCopy)
    at += extent.length
  }
  return map
}

/** The largest chunks whose bounds are those of the data; if they would be too many, larger ones. */
function chunkBits(size: number, extents: readonly Extent[]): number {
  const least = Math.max(EROFS_BLOCK_BITS, Math.ceil(Math.log2(size / MAX_CHUNKS)))
  let bits = Math.max(least, Math.ceil(Math.log2(size)))
  for (const { offset, length } of extents) {
    const end = offset + length
    while (bits > least && (offset % 2 ** bits !== 0 || (end !== size && end % 2 ** bits !== 0))) bits--
  }
  return bits
}

function mapExtent(map: ChunkMap, size: number, { offset, length }: Extent, at: number, firstCopy: number): void {
  const chunk = 2 ** map.bits
  const end = offset + length
  for (let index = Math.floor(offset / chunk); index * chunk < end; index++) {
    if (map.blocks[index] !== HOLE) continue // Copied for the sake of an extent before.
    const start = index * chunk
    const stop = Math.min(size, start + chunk)
    const place = at + start - offset
    if (offset <= start && stop <= end && place % EROFS_BLOCK === 0) {
      map.devices[index] = DEVICE.tar
      map.blocks[index] = place / EROFS_BLOCK
    } else {
      map.devices[index] = DEVICE.index
      map.blocks[index] = firstCopy + map.copiedBlocks
      map.copiedBlocks += Math.ceil((stop - start) / EROFS_BLOCK)
    }
  }
}

/** Says which of these bytes of the file, beginning at `offset`, go where in the image. */
export function* copiesOf(map: ChunkMap, bytes: Buffer, offset: number): Generator<{ bytes: Buffer; at: number }> {
  const chunk = 2 ** map.bits
  const end = offset + bytes.length
  for (let from = offset; from < end; ) {
    const index = Math.floor(from / chunk)
    const to = Math.min(end, (index + 1) * chunk)
    const block = map.blocks[index] ?? HOLE
    if (map.devices[index] === DEVICE.index && block !== HOLE) {
      const at = block * EROFS_BLOCK + (from - index * chunk)
      yield { bytes: bytes.subarray(from - offset, to - offset), at }
    }
    from = to
  }
}
