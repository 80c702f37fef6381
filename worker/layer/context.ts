import type { Compression } from '#shared/domain/layer-compression.ts'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { DamagedStream } from '#worker/host/decompressor.ts'
import { contextTooLarge } from './context-writer.ts'
import { decompress } from './decompress.ts'
import { extract } from './extract.ts'
import type { TarLimits } from './layer-writer.ts'

/** RFC 1952, 2.3.1, and RFC 8878, 3.1.1. */
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b])
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
/** Compressions of tars that are known and not read: what an upload in one begins with, in hex (the formats' own documents). */
const UNREAD = [
  { name: 'xz', magic: /^fd377a585a00/ },
  { name: 'bzip2', magic: /^425a683[1-9](314159265359|177245385090)/ },
  { name: 'lzip', magic: /^4c5a495001/ },
] as const
const HEAD_BYTES = 10
/** Names, attributes and padding that an entry may bring besides its bytes, on the average. */
const OVERHEAD_PER_ENTRY = 4096

export interface ContextOptions {
  keepsLinks?: boolean | undefined
  onWritten?: ((bytes: number) => void) | undefined
  isOver?: boolean
}

/**
 * Unpacks a build context, a tar, plain or compressed with gzip or zstd (told by its first bytes; others are
 * refused by name), into an empty folder of this process. Errors: `context.unsafe-path` naming the entry (it would reach outside, or is a device), `context.invalid` (no tar,
 * cut off, damaged), `request.too-large`, `host.disk-full`, and what the stream throws. The caller removes the folder
 * after an error. `keepsLinks`: links may lead out, for a reader that follows none. `onWritten` is told now and then how
 * many bytes of the tar are there. `isOver`: the folder has files already, and a `.wh.NAME` takes NAME away (OCI image-spec 1.1,
 * layer.md, "Whiteouts"); files of more names are replaced, not written into.
 */
export async function extractContext(
  stream: AsyncIterable<Uint8Array>,
  folder: string,
  limits: TarLimits,
  { keepsLinks = false, onWritten, isOver = false }: ContextOptions = {},
): Promise<void> {
  await extract({ kind: 'context', folder, limits, keepsLinks, isOver }, await plainTar(stream, limits), onWritten)
}

/** The tar in an upload, which may be compressed. Errors, while it is read: `context.invalid`, `request.too-large`. */
export async function plainTar(
  stream: AsyncIterable<Uint8Array>,
  limits: TarLimits,
): Promise<AsyncIterable<Uint8Array>> {
  return bounded(await plain(stream), limits)
}

async function plain(stream: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const chunks = stream[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  while (head.length < HEAD_BYTES) {
    const { done, value } = await chunks.next()
    if (done) break
    head = Buffer.concat([head, value])
  }
  const whole = withHead(head, chunks)
  if (head.subarray(0, GZIP_MAGIC.length).equals(GZIP_MAGIC)) return unzipped('gzip', whole)
  if (head.subarray(0, ZSTD_MAGIC.length).equals(ZSTD_MAGIC)) return unzipped('zstd', whole)
  const unread = UNREAD.find(({ magic }) => magic.test(head.toString('hex')))
  if (!unread) return whole
  await chunks.return?.()
  const { name } = unread
  const how = `Unpack it first (${name} -d), or compress it anew (${name} -dc FILE | gzip), and upload that.`
  throw new SlipwayError(
    'context.invalid',
    `The upload is compressed with ${name}: only gzip and zstd are read. ${how}`,
  )
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

async function* unzipped(compression: Compression, stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of decompress(compression, stream)) yield Buffer.from(chunk) // A reader may keep it.
  } catch (cause) {
    throw cause instanceof DamagedStream ? damaged(cause) : cause
  }
}

function damaged(cause: unknown): SlipwayError {
  const message = 'The upload is a compressed tar that is damaged or cut off: upload it again.'
  return new SlipwayError('context.invalid', message, { cause })
}

/** A few bytes of gzip can become any number of zeros behind the end of a tar: the stream itself is bounded too. */
async function* bounded(tar: AsyncIterable<Uint8Array>, limits: TarLimits): AsyncGenerator<Uint8Array> {
  const most = limits.maxBytes + limits.maxEntries * OVERHEAD_PER_ENTRY
  let size = 0
  for await (const chunk of tar) {
    size += chunk.length
    if (size > most) throw contextTooLarge(sizeInWords(limits.maxBytes))
    yield chunk
  }
}
