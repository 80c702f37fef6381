import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { SlipwayError } from '#shared/errors.ts'
import { contextTooLarge } from './context-writer.ts'
import { extract } from './extract.ts'
import type { TarLimits } from './layer-writer.ts'

/** RFC 1952, 2.3.1. */
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b])
const UNZIP_CHUNK = 256 * 1024
/** Names, attributes and padding that an entry may bring besides its bytes, on the average. */
const OVERHEAD_PER_ENTRY = 4096

/**
 * Unpacks a build context, a tar or a gzip of one (told by its first bytes), into an empty folder of this process.
 * Errors: `context.unsafe-path` naming the entry (it would reach outside, or is a device), `context.invalid` (no tar,
 * cut off, damaged), `request.too-large`, `host.disk-full`, and what the stream throws. The caller removes the folder
 * after an error.
 */
export async function extractContext(
  stream: AsyncIterable<Uint8Array>,
  folder: string,
  limits: TarLimits,
): Promise<void> {
  const tar = await plain(stream)
  await extract({ kind: 'context', folder, limits }, bounded(tar, limits))
}

async function plain(stream: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const chunks = stream[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  while (head.length < GZIP_MAGIC.length) {
    const { done, value } = await chunks.next()
    if (done) break
    head = Buffer.concat([head, value])
  }
  const whole = withHead(head, chunks)
  return head.subarray(0, 2).equals(GZIP_MAGIC) ? gunzipped(whole) : whole
}

async function* withHead(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield head
    for (;;) {
      const { done, value } = await rest.next()
      if (done) return
      yield value
    }
  } finally {
    await rest.return?.()
  }
}

async function* gunzipped(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: UNZIP_CHUNK })
  pipeline(Readable.from(stream, { objectMode: false }), gunzip, () => {}) // Its errors come through the iteration.
  try {
    yield* gunzip
  } catch (cause) {
    throw isZlibError(cause) ? damaged(cause) : cause
  }
}

function isZlibError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^Z_|^ERR_TRAILING_JUNK/.test(String(error.code))
}

function damaged(cause: unknown): SlipwayError {
  const message = 'The build context is a gzip that is damaged or cut off: upload it again.'
  return new SlipwayError('context.invalid', message, { cause })
}

/** A few bytes of gzip can become any number of zeros behind the end of a tar: the stream itself is bounded too. */
async function* bounded(tar: AsyncIterable<Uint8Array>, limits: TarLimits): AsyncGenerator<Uint8Array> {
  const most = limits.maxBytes + limits.maxEntries * OVERHEAD_PER_ENTRY
  let size = 0
  for await (const chunk of tar) {
    size += chunk.length
    if (size > most) throw contextTooLarge(`${limits.maxBytes} bytes`)
    yield chunk
  }
}
