import { createHash } from 'node:crypto'
import { Duplex, PassThrough, Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import { cutAtFrames } from '../layer/zstd-frames.ts'

const CHUNK_BYTES = 256 * 1024

export interface LayerBlob extends Disposable {
  /** The layer's tar, as it comes; its reader may stop anywhere. */
  tar: Readable
  /** After the tar's last byte: throws unless both digests are what was promised. */
  verify(): Promise<void>
  /** Bytes of the tar so far. */
  tarBytes(): number
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
  const unzip = decoders(layer)
  const blob = await download(layer.digest)
  const source = new Source(blob)
  const plain = hashing()
  const gone = new AbortController()
  const stages = [Readable.from(source.chunks(), { objectMode: false }), ...unzip, plain.pass] as const
  const done = pipeline([...stages], { signal: gone.signal })
  done.catch(() => {}) // Whoever reads the tar meets it.
  const isRight = async () => (await source.digest(layer.size)) === layer.digest
  return {
    tar: plain.pass,
    tarBytes: plain.size,
    verify: async () => {
      await done
      if (!(await isRight())) throw mismatch(layer)
      if (plain.value() !== diffId) throw invalid(layer, 'holds another tar than its image says')
    },
    explain: async error => {
      const isOfBytes = error instanceof SlipwayError ? error.code === 'layer.invalid' : isDecoderError(error)
      const isWhole = source.failure === undefined && isOfBytes ? await isRight().catch(() => undefined) : undefined
      if (source.failure !== undefined) return unreachable(layer, source.failure)
      if (isWhole === false) return mismatch(layer, error)
      return isDecoderError(error) ? invalid(layer, `is no ${layer.mediaType}`, error) : error
    },
    [Symbol.dispose]: () => {
      gone.abort()
      blob.destroy()
    },
  }
}

/** The blob's bytes, hashed. Stays open when its reader stops: only all of it has a digest. */
class Source {
  failure: unknown
  #size = 0
  readonly #hash = createHash('sha256')
  #digest: Digest | undefined
  readonly #bytes: AsyncIterator<Uint8Array>

  constructor(blob: Readable) {
    this.#bytes = blob[Symbol.asyncIterator]()
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk
  }

  /** Of all bytes, whoever read them; undefined when there are more than promised, however many. */
  async digest(size: number): Promise<Digest | undefined> {
    while (await this.#next()) if (this.#size > size) return undefined
    this.#digest ??= digestFromHex(this.#hash.digest('hex'))
    return this.#digest
  }

  async #next(): Promise<Uint8Array | undefined> {
    try {
      const { done, value } = await this.#bytes.next()
      if (done) return undefined
      this.#hash.update(value)
      this.#size += value.length
      return value
    } catch (error) {
      this.failure = error
      throw error
    }
  }
}

/** What OCI's image-spec ("Layer media types") and Docker's name; others, encrypted ones for example, are not guessed at. */
function decoders(layer: Descriptor): NodeJS.ReadWriteStream[] {
  const kind = /\.tar(?:[+.](gzip|zstd))?$/.exec(layer.mediaType)
  if (!kind) throw invalid(layer, `is of the media type ${layer.mediaType}, which this host cannot unpack`)
  if (kind[1] === 'gzip') return [createGunzip({ chunkSize: CHUNK_BYTES })]
  if (kind[1] !== 'zstd') return [new PassThrough()]
  return [Duplex.from(cutAtFrames), createZstdDecompress({ chunkSize: CHUNK_BYTES })]
}

function isDecoderError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(Z_|ZSTD_|ERR_TRAILING_JUNK)/.test(String(error.code))
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

function hashing() {
  const hash = createHash('sha256')
  let value: Digest | undefined
  let size = 0
  const pass = new Transform({
    highWaterMark: CHUNK_BYTES,
    transform(chunk, _encoding, next) {
      hash.update(chunk)
      size += chunk.length
      next(null, chunk)
    },
    flush(next) {
      value = digestFromHex(hash.digest('hex'))
      next()
    },
  })
  return { pass, value: () => value, size: () => size }
}
