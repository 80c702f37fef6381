import { type FileHandle, open } from 'node:fs/promises'
import type { ByteRange } from '#shared/ports/blob-store.ts'

const CHUNK_BYTES = 512 * 1024

/**
 * A file's bytes, read when they are asked for. Node's own `Readable.toWeb` copies every chunk once more, which halves
 * what a blob is served with. The file is open from the first read to the last, a failure, or the reader's leaving.
 */
export function fileStream(path: string, range?: ByteRange): ReadableStream<Uint8Array> {
  let handle: FileHandle | undefined
  let at = range?.start ?? 0
  const end = range ? range.end + 1 : Number.POSITIVE_INFINITY
  const next = async () => {
    handle ??= await open(path)
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at))
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
    at += bytesRead
    return buffer.subarray(0, bytesRead)
  }
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        try {
          const bytes = await next()
          if (bytes.length > 0) controller.enqueue(bytes)
          if (bytes.length > 0 && at < end) return
          controller.close()
        } catch (error) {
          controller.error(error)
        }
        await handle?.close()
      },
      cancel: async () => await handle?.close(),
    },
    { highWaterMark: 0 },
  )
}
