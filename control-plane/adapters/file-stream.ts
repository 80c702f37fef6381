import { type FileHandle, open } from 'node:fs/promises'
import type { ByteRange } from '#shared/ports/blob-store.ts'

const CHUNK_BYTES = 512 * 1024

/**
 * A file's bytes, read when they are asked for, one chunk ahead. Node's own `Readable.toWeb` copies every chunk once more,
 * which halves what a blob is served with. The file is open from the first read to the last, a failure, or the reader's
 * leaving.
 */
export function fileStream(path: string, range?: ByteRange): ReadableStream<Uint8Array> {
  let handle: FileHandle | undefined
  let ahead: Promise<Uint8Array> | undefined
  let at = range?.start ?? 0
  const end = range ? range.end + 1 : Number.POSITIVE_INFINITY
  const read = async () => {
    handle ??= await open(path)
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at))
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
    at += bytesRead
    return buffer.subarray(0, bytesRead)
  }
  const close = async () => {
    await ahead?.catch(() => {}) // Told already, or to nobody who still listens.
    await handle?.close()
  }
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        try {
          const bytes = await (ahead ?? read())
          ahead = undefined
          if (bytes.length > 0) controller.enqueue(bytes)
          if (bytes.length > 0 && at < end) {
            ahead = read()
            ahead.catch(() => {})
            return
          }
          controller.close()
        } catch (error) {
          controller.error(error)
        }
        await close()
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  )
}
