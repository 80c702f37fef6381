import { open } from 'node:fs/promises'
import type { ByteRange } from '#shared/protocol/byte-range.ts'

const CHUNK_BYTES = 512 * 1024

/**
 * A file's bytes, read when they are asked for. Node's own `Readable.toWeb` copies every chunk once more, which halves
 * what a blob is served with. The file is closed at its end, at a failure, or when the reader leaves.
 */
export async function fileStream(path: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
  const handle = await open(path)
  let at = range?.start ?? 0
  const end = range ? range.end + 1 : Number.POSITIVE_INFINITY
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        try {
          const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at))
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
          at += bytesRead
          if (bytesRead > 0) controller.enqueue(buffer.subarray(0, bytesRead))
          if (bytesRead > 0 && at < end) return
          await handle.close()
          controller.close()
        } catch (error) {
          await handle.close().catch(() => {})
          controller.error(error)
        }
      },
      cancel: () => handle.close(),
    },
    { highWaterMark: 0 },
  )
}
