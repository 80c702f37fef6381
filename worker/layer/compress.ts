import { availableParallelism } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { constants, createZstdCompress, deflateRaw, gzip } from 'node:zlib'
import type { Compression } from '#shared/domain/layer-compression.ts'
import { loadIsalGzip } from '#worker/host/isal-deflate.ts'

const zip = promisify(gzip)
const deflated = promisify(deflateRaw)
/** The window of gzip has 32 KiB, so blocks of this size lose a hundredth at most. */
const BLOCK_BYTES = 1024 * 1024
/** A block none of whose samples shrinks is taken for one that is compressed already: storing it is many times as fast. */
const SAMPLES = 4
const SAMPLE_BYTES = 16 * 1024
const WORTH_IT = 0.97
/** As many threads as libuv has for such work, unless it is told otherwise. */
const THREADS = 4
const ZSTD_CHUNK = 256 * 1024
/**
 * Of the libraries in Node, so that they give the same bytes on every host. gzip's: on a Python library of 47 MB, level 6 takes 50%
 * longer than 4 and saves 3%; below 4 no time is won. zstd's is its own default.
 */
export const PORTABLE_LEVELS = { gzip: 4, zstd: 3 } as const satisfies Record<Compression, number>

/** Asked for once: the answer does not change while this process lives. */
const isal = loadIsalGzip().catch(() => undefined)

/**
 * A stream as gzip or zstd; `level` is zlib's (0 to 9) or zstd's. The same bytes give the same bytes, however they are cut, on this
 * host; with a level on every host. gzip is made of members, a block each (RFC 1952, 2.2: a file is a series of members), on as many processors as there
 * are; without a level by ISA-L, where the host has it.
 */
export async function* compress(
  chunks: AsyncIterable<Uint8Array>,
  compression: Compression,
  level?: number,
): AsyncGenerator<Uint8Array> {
  if (compression === 'zstd') return yield* compressByZstd(chunks, level ?? PORTABLE_LEVELS.zstd)
  const zipBlock = (level === undefined && (await isal)) || zipBlockAt(level ?? PORTABLE_LEVELS.gzip)
  const ahead = Math.min(availableParallelism(), THREADS) + 1
  const underWay: Promise<Buffer>[] = []
  for await (const block of blocksOf(chunks)) {
    const member = zipBlock(block)
    member.catch(() => {}) // Whoever comes to it is told.
    underWay.push(member)
    if (underWay.length > ahead) yield (await underWay.shift()) as Buffer
  }
  for (const member of underWay) yield await member
}

async function* compressByZstd(chunks: AsyncIterable<Uint8Array>, level: number): AsyncGenerator<Uint8Array> {
  const output = createZstdCompress({ chunkSize: ZSTD_CHUNK, params: { [constants.ZSTD_c_compressionLevel]: level } })
  const fed = pipeline(blocksOf(chunks), output)
  fed.catch(() => {}) // Whoever reads is told.
  yield* output
}

const zipBlockAt = (level: number) => async (block: Buffer) =>
  zip(block, { level: (await isWorthIt(block)) ? level : 0 })

async function isWorthIt(block: Buffer): Promise<boolean> {
  if (block.length < SAMPLES * SAMPLE_BYTES) return true
  for (let at = 0; at < SAMPLES; at++) {
    const from = Math.floor((block.length * at) / SAMPLES)
    const sample = await deflated(block.subarray(from, from + SAMPLE_BYTES), { level: 1 })
    if (sample.length < SAMPLE_BYTES * WORTH_IT) return true
  }
  return false
}

/** Copies, since who gives chunks may fill them again. One empty block where there is nothing. */
async function* blocksOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let block = Buffer.allocUnsafe(BLOCK_BYTES)
  let filled = 0
  let count = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + BLOCK_BYTES - filled)
      block.set(part, filled)
      filled += part.length
      at += part.length
      if (filled < BLOCK_BYTES) continue
      yield block
      count++
      block = Buffer.allocUnsafe(BLOCK_BYTES)
      filled = 0
    }
  }
  if (filled > 0 || count === 0) yield block.subarray(0, filled)
}
