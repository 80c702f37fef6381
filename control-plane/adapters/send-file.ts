import { type FileHandle, open } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import type { FileStream } from './file-stream.ts'

const CHUNK_BYTES = 512 * 1024

/**
 * Answers with a file, out of two buffers that take turns: one is read into while the other is on its way. A stream
 * would need new memory for every chunk: 60 MB of it before any is given back. `response` says all but the bytes. A
 * client that leaves ends it. Throws when the file cannot be opened, with nothing sent, or read to its end: the
 * connection is broken off then, for the length was promised already.
 */
export async function sendFile(response: Response, { path, range }: FileStream, outgoing: ServerResponse) {
  await using file = await open(path)
  const end = range ? range.end + 1 : (await file.stat()).size
  outgoing.setHeaders(response.headers).writeHead(response.status)
  try {
    await copyFile(file, range?.start ?? 0, end, outgoing)
    outgoing.end()
  } catch (error) {
    outgoing.destroy()
    throw error
  }
}

async function copyFile(file: FileHandle, start: number, end: number, outgoing: ServerResponse): Promise<void> {
  const size = Math.min(CHUNK_BYTES, end - start)
  let [free, busy] = [Buffer.allocUnsafeSlow(size), Buffer.allocUnsafeSlow(end - start > size ? size : 0)]
  const output = flusher(outgoing)
  for (let at = start; at < end; ) {
    const { bytesRead } = await file.read(free, 0, Math.min(size, end - at), at)
    if (bytesRead === 0) throw new Error(`A blob's file ends ${end - at} bytes too early.`)
    at += bytesRead
    await output.flushed()
    if (outgoing.destroyed) return
    output.write(free.subarray(0, bytesRead))
    ;[free, busy] = [busy, free]
  }
  await output.flushed()
}

/** Tells when the kernel has taken what was written last, or the connection has ended: that memory is free again. */
function flusher(outgoing: ServerResponse) {
  let last = Promise.withResolvers<void>()
  last.resolve()
  outgoing.once('close', () => last.resolve())
  return {
    flushed: () => last.promise,
    write: (bytes: Uint8Array) => {
      const mine = Promise.withResolvers<void>()
      last = mine
      outgoing.write(bytes, () => mine.resolve())
    },
  }
}
