import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { SavedMount } from '#shared/domain/cache-mount.ts'
import { SlipwayError } from '#shared/errors.ts'
import { decompress } from '../layer/decompress.ts'

export interface SavedTar extends AsyncDisposable {
  /** The tar, once; `onBytes` is told how many bytes of the blob have come. A chunk is gone when the next one is asked for. */
  chunks(onBytes: (bytes: number) => void): AsyncIterable<Uint8Array>
  /** After the last chunk. Errors: `blob.digest-mismatch` unless all came, and nothing else. */
  verify(): Promise<void>
}

/** The tar of a saved cache mount out of the store. What breaks off or is no zstd throws while it is read. */
export async function openSavedTar(
  saved: SavedMount,
  download: (digest: Digest) => Promise<Readable>,
  signal: AbortSignal,
): Promise<SavedTar> {
  const blob = await download(saved.digest)
  const stop = () => blob.destroy(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  const source = blob[Symbol.asyncIterator]()
  const hash = createHash('sha256')
  let size = 0
  async function* counted(onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
    for (let next = await source.next(); !next.done; next = await source.next()) {
      const chunk: Uint8Array = next.value
      hash.update(chunk)
      size += chunk.length
      onBytes(size)
      yield chunk
    }
  }
  return {
    chunks: onBytes => decompress('zstd', counted(onBytes)),
    verify: async () => {
      // The compression may end before the blob does.
      for await (const _ of counted(() => {})) if (size > saved.size) break
      if (size === saved.size && digestFromHex(hash.digest('hex')) === saved.digest) return
      throw new SlipwayError('blob.digest-mismatch', `What came of the saved cache mount is not ${saved.digest}.`)
    },
    [Symbol.asyncDispose]: async () => {
      signal.removeEventListener('abort', stop)
      blob.destroy()
    },
  }
}
