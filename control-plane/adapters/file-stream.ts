import { type FileHandle, open } from 'node:fs/promises'
import type { UnderlyingSource } from 'node:stream/web'
import type { ByteRange } from '#shared/ports/blob-store.ts'

const CHUNK_BYTES = 512 * 1024

/**
 * A file's bytes, read one chunk at a time when they are asked for. The file is open from the first read to the last, a
 * failure, or the reader's leaving. `send-file.ts` sends the file itself and reads nothing here.
 */
export class FileStream extends ReadableStream<Uint8Array> {
  readonly path: string
  readonly range: ByteRange | undefined

  constructor(path: string, range?: ByteRange) {
    super(fileSource(path, range), { highWaterMark: 0 })
    this.path = path
    this.range = range
  }
}

function fileSource(path: string, range: ByteRange | undefined): UnderlyingSource<Uint8Array> {
  let handle: FileHandle | undefined
  let at = range?.start ?? 0
  const end = range ? range.end + 1 : Number.POSITIVE_INFINITY
  const read = async () => {
    handle ??= await open(path)
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at))
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
    at += bytesRead
    return buffer.subarray(0, bytesRead)
  }
  return {
    pull: async (controller: ReadableStreamDefaultController<Uint8Array>) => {
      try {
        const bytes = await read()
        if (bytes.length > 0) controller.enqueue(bytes)
        if (bytes.length > 0 && at < end) return
        controller.close()
      } catch (error) {
        controller.error(error)
      }
      await handle?.close()
    },
    cancel: () => handle?.close(),
  }
}
