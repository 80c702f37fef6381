import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import type { Compression } from '#shared/domain/layer-compression.ts'
import { SlipwayError } from '#shared/errors.ts'
import { DamagedStream } from '../host/decompressor.ts'
import { decompress } from '../layer/decompress.ts'

export interface LayerBlob extends Disposable {
  /** The layer's tar, as it comes, once; its reader may stop anywhere. A chunk is gone when the next one is asked for. */
  tar: AsyncIterable<Uint8Array>
  /** After the tar's last byte: throws unless both digests are what was promised. */
  verify(): Promise<void>
  /** Bytes of the tar so far. */
  tarBytes(): number
  /** Bytes of the blob so far. */
  blobBytes(): number
  /**
   * What an error of reading or unpacking really was: a broken line, other bytes than the digest says (both worth
   * another download), or a layer that is broken by itself. The first two often look like the third.
   */
  explain(error: unknown): Promise<unknown>
}

/** A layer's tar out of its blob. Errors: `layer.invalid` for a media type that nothing here unpacks. */
export async function openLayerBlob(
  layer: Descriptor,
  diffId: Digest,
  download: (digest: Digest) => Promise<Readable>,
): Promise<LayerBlob> {
  const compression = compressionOf(layer)
  const blob = await download(layer.digest)
  const source = new HashedBytes(blob)
  const chunks = compression ? decompress(compression, source.chunks()) : source.chunks()
  const plain = new HashedBytes(chunks)
  const isRight = async () => (await source.digest(layer.size)) === layer.digest
  return {
    tar: plain.chunks(),
    tarBytes: () => plain.size,
    blobBytes: () => source.size,
    verify: async () => {
      if (!(await isRight())) throw mismatch(layer)
      if ((await plain.digest()) !== diffId) throw invalid(layer, 'holds another tar than its image says')
    },
    explain: async error => {
      const isOfBytes = error instanceof SlipwayError ? error.code === 'layer.invalid' : error instanceof DamagedStream
      const isWhole = source.failure === undefined && isOfBytes ? await isRight().catch(() => undefined) : undefined
      if (source.failure !== undefined) return unreachable(layer, source.failure)
      if (isWhole === false) return mismatch(layer, error)
      if (error instanceof DamagedStream) return invalid(layer, `is no ${layer.mediaType}`, error)
      return error instanceof SlipwayError && error.code === 'layer.invalid' ? ofLayer(layer, error) : error
    },
    [Symbol.dispose]: () => {
      blob.destroy()
      chunks.return().catch(() => {}) // It may wait for what was just destroyed.
    },
  }
}

/** An image may have many: which of them is it? */
function ofLayer({ digest }: Descriptor, error: SlipwayError): SlipwayError {
  const facts = { ...error.facts, digest }
  return new SlipwayError(error.code, `Layer ${digest}: ${error.message}`, { cause: error, facts })
}

/** Bytes that are hashed as they go by. Stays open when its reader stops: only all of it has a digest. */
class HashedBytes {
  failure: unknown
  size = 0
  readonly #hash = createHash('sha256')
  #digest: Digest | undefined
  readonly #bytes: AsyncIterator<Uint8Array>

  constructor(bytes: AsyncIterable<Uint8Array>) {
    this.#bytes = bytes[Symbol.asyncIterator]()
  }

  async *chunks(): AsyncGenerator<Uint8Array, void> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk
  }

  /** Of all bytes, whoever read them; undefined when there are more than `most`, however many. */
  async digest(most = Number.POSITIVE_INFINITY): Promise<Digest | undefined> {
    while (await this.#next()) if (this.size > most) return undefined
    this.#digest ??= digestFromHex(this.#hash.digest('hex'))
    return this.#digest
  }

  async #next(): Promise<Uint8Array | undefined> {
    try {
      const { done, value } = await this.#bytes.next()
      if (done) return undefined
      this.#hash.update(value)
      this.size += value.length
      return value
    } catch (error) {
      this.failure = error
      throw error
    }
  }
}

/** What OCI's image-spec ("Layer media types") and Docker's name; others, encrypted ones for example, are not guessed at. */
function compressionOf(layer: Descriptor): Compression | undefined {
  const kind = /\.tar(?:[+.](gzip|zstd))?$/.exec(layer.mediaType)
  if (!kind) throw invalid(layer, `is of the media type ${layer.mediaType}, which this host cannot unpack`)
  return kind[1] as Compression | undefined
}

function unreachable(layer: Descriptor, cause: unknown): unknown {
  if (cause instanceof SlipwayError) return cause
  const message = `The line broke while layer ${layer.digest} came: it will be fetched again.`
  return new SlipwayError('host.unreachable', message, { cause })
}

function mismatch(layer: Descriptor, cause?: unknown): SlipwayError {
  const message = `Layer ${layer.digest} came with other bytes than its digest says: it will be fetched again.`
  return new SlipwayError('layer.digest-mismatch', message, { cause })
}

function invalid(layer: Descriptor, why: string, cause?: unknown): SlipwayError {
  const facts = { digest: layer.digest, mediaType: layer.mediaType }
  return new SlipwayError('layer.invalid', `Layer ${layer.digest} ${why}: build the image anew.`, { cause, facts })
}
