import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { Compression } from '#shared/domain/layer-compression.ts'
import { SlipwayError } from '#shared/errors.ts'
import { DamagedStream, type Decompressor } from '#worker/host/decompressor.ts'
import { loadIsal } from '#worker/host/isal.ts'
import { loadZstd } from '#worker/host/libzstd.ts'

const INPUT_BYTES = 256 * 1024
const OUTPUT_BYTES = 512 * 1024

/** Asked for once: the answers do not change while this process lives. */
const isal = loadIsal()
const openUnzstd = loadZstd()

/**
 * What the compressed bytes hold. Buffers are filled again: a chunk may be looked at until the next one is asked for, so
 * that a layer costs no memory of the collector's, which would cost more than all else together. The next chunk
 * is made meanwhile. Errors: `DamagedStream` (no such format, or cut off), and what the source throws.
 */
export async function* decompress(
  compression: Compression,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const openGunzip = await isal
  const open = compression === 'gzip' ? openGunzip : openUnzstd
  if (open) yield* oneAhead(inflate(open(), chunks))
  else if (compression === 'gzip') yield* gunzip(chunks)
  else throw new SlipwayError('internal', 'This host lacks libzstd.so.1, which layers in zstd need: install libzstd.')
}

/** For hosts without ISA-L. */
export async function* gunzip(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const source = Readable.from(chunks, { objectMode: false })
  const unzip = createGunzip({ chunkSize: OUTPUT_BYTES })
  source.on('error', error => unzip.destroy(error))
  try {
    yield* source.pipe(unzip)
  } catch (cause) {
    throw isZlibError(cause) ? new DamagedStream('is no gzip', { cause }) : cause
  } finally {
    source.destroy()
  }
}

function isZlibError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')
}

/** A chunk may be looked at until the second one after it is asked for. */
export async function* inflate(
  open: Decompressor,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  using decompressor = open
  const outputs = [Buffer.allocUnsafeSlow(OUTPUT_BYTES), Buffer.allocUnsafeSlow(OUTPUT_BYTES)] as const
  let [output, other] = outputs
  let filled = 0
  let isWhole = false
  for await (const input of gathered(chunks)) {
    for (let at = 0, isFull = true; at < input.length || isFull; ) {
      const step = await decompressor.step(input.subarray(at), output.subarray(filled))
      if (step.taken + step.made > 0) isWhole = step.isWhole
      else if (at < input.length) throw new DamagedStream('It does not go on.')
      at += step.taken
      filled += step.made
      isFull = filled === output.length
      if (!isFull) continue
      yield output
      ;[output, other, filled] = [other, output, 0]
    }
  }
  if (filled > 0) yield output.subarray(0, filled)
  if (!isWhole) throw new DamagedStream('It is cut off.')
}

/** The same bytes in fewer chunks, in a buffer that is filled again: each call of a library's costs. */
async function* gathered(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const buffer = Buffer.allocUnsafeSlow(INPUT_BYTES)
  let size = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + buffer.length - size)
      buffer.set(part, size)
      size += part.length
      at += part.length
      if (size < buffer.length) continue
      yield buffer
      size = 0
    }
  }
  if (size > 0) yield buffer.subarray(0, size)
}

/** Asks for the next one before it gives one away. */
async function* oneAhead<T>(source: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  const ask = () => {
    const next = source.next()
    next.catch(() => {}) // Whoever takes it meets it.
    return next
  }
  let next = ask()
  try {
    for (let result = await next; !result.done; result = await next) {
      next = ask()
      yield result.value
    }
  } finally {
    await next.catch(() => {})
    await source.return()
  }
}
