import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { Compression } from '#shared/domain/layer-compression.ts'
import { asKernelError, errnoOf } from '#worker/host/kernel-error.ts'
import { compress } from './compress.ts'
import { tarOfUpper } from './upper-tar.ts'

export interface PackOptions {
  /** The file to write; it is removed again when packing fails. */
  path: string
  /** Left out: gzip. */
  compression?: Compression | undefined
  /** zlib's (0 to 9) or zstd's (0 to 19). Left out: what is fast here. */
  level?: number | undefined
  signal?: AbortSignal | undefined
}

export interface PackedLayer {
  /** Of the tar, with its size in bytes. */
  diffId: Digest
  unpackedBytes: number
  compression: Compression
  /** Of the compressed file, with its size in bytes. */
  digest: Digest
  size: number
  path: string
  /** Nothing was changed: such a layer need not be part of an image. */
  isEmpty: boolean
}

/**
 * Writes an overlay upper folder that nobody changes meanwhile as a compressed OCI layer, in one pass. The same folder
 * gives the same bytes: names in order, no time of packing. `lower` has the folders of the layers below, topmost first;
 * `placeholders` are no part of it (`isPlaceholder`). Errors: `layer.invalid` (a file that a layer cannot hold), `host.disk-full`,
 * `host.kernel-refused`.
 */
export async function packLayer(
  upper: string,
  { lower, placeholders, ...options }: PackOptions & { lower?: readonly string[]; placeholders?: ReadonlySet<string> },
): Promise<PackedLayer> {
  const tar = tarOfUpper(upper, lower, placeholders)
  const packed = await packTar(tar.chunks, options)
  return { ...packed, isEmpty: tar.entries() === 0 }
}

/** Writes a tar as a compressed OCI layer, in one pass. Errors: `host.disk-full`, `host.kernel-refused`, and what the tar throws. */
export async function packTar(tar: AsyncIterable<Uint8Array>, options: PackOptions): Promise<PackedLayer> {
  const { path, compression = 'gzip', level, signal } = options
  const plain = new Measured()
  const zipped = new Measured()
  try {
    await pipeline(
      () => zipped.pass(compress(plain.pass(tar), compression, level)),
      createWriteStream(path, { flags: 'wx', mode: 0o600 }),
      { ...(signal && { signal }) },
    )
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') await rm(path, { force: true })
    throw asKernelError(error, `pack a layer into ${path}`)
  }
  const unpackedBytes = plain.size
  const whole = { diffId: plain.digest(), unpackedBytes, compression, digest: zipped.digest(), size: zipped.size }
  return { ...whole, path, isEmpty: false }
}

/** Bytes on their way through, hashed and counted. */
class Measured {
  size = 0
  readonly #hash = createHash('sha256')

  async *pass(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#hash.update(chunk)
      this.size += chunk.length
      yield chunk
    }
  }

  digest(): Digest {
    return digestFromHex(this.#hash.digest('hex'))
  }
}
