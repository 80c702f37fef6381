import { watch } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '#shared/ports/clock.ts'
import type { LogLine } from '#shared/protocol/bus.ts'

export interface LogQuery {
  follow: boolean
  tail?: number | undefined
  sinceMs?: number | undefined
  stdout: boolean
  stderr: boolean
}

export interface LogSource {
  path: string
  clock: Clock
  signal: AbortSignal
  /** Whether the container may still write: a followed log ends once it does not and all was read. */
  isLive(): Promise<boolean>
}

const CHUNK_BYTES = 64 * 1024
const LOOK_EVERY_MS = 500
const LINE = /^(\S+) (stdout|stderr) ([FP])(?::\S*)? ?(.*)$/s
const NEWLINE = 10

/**
 * A container's log as its monitor wrote it (`TIME STREAM F|P TEXT`, Kubernetes' CRI form), in batches of at most 64 KiB
 * as read. `tail` is found from the end; nothing but one chunk is held. A file that is not there yet reads as empty.
 */
export async function* readLog(source: LogSource, query: LogQuery): AsyncGenerator<LogLine[], void> {
  using bell = doorbell(source.path)
  let file = await openIfThere(source.path)
  try {
    let position = file && query.tail !== undefined ? await tailStart(file, query.tail) : 0
    let rest = Buffer.alloc(0)
    const parse = lineParser(query)
    for (;;) {
      const isLive = query.follow && (await source.isLive()) // Asked before reading: what was written by then is read.
      file ??= await openIfThere(source.path)
      let isRead = false
      while (file && !source.signal.aborted) {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, position)
        if (bytesRead === 0) break
        isRead = true
        position += bytesRead
        const bytes = Buffer.concat([rest, buffer.subarray(0, bytesRead)])
        const end = bytes.lastIndexOf(NEWLINE) + 1
        rest = Buffer.from(bytes.subarray(end))
        const lines = parse(bytes.subarray(0, end))
        if (lines.length > 0) yield lines
      }
      if (source.signal.aborted || !query.follow || (!isLive && !isRead)) return
      await bell.next(source.clock, LOOK_EVERY_MS, source.signal)
    }
  } finally {
    await file?.close()
  }
}

/**
 * Parses whole records, one call after the other. A long line comes in parts, cut by the monitor wherever its buffer
 * ended: the bytes of a character that was cut are kept for the next part of the same stream.
 */
export function lineParser(query: Pick<LogQuery, 'sinceMs' | 'stdout' | 'stderr'>): (records: Buffer) => LogLine[] {
  const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') }
  return records =>
    // Latin-1 keeps each byte as one character.
    records
      .toString('latin1')
      .split('\n')
      .flatMap(record => {
        const [, time = '', stream, kind, body = ''] = LINE.exec(record) ?? []
        if (stream !== 'stdout' && stream !== 'stderr') return []
        const isPartial = kind === 'P'
        const bytes = Buffer.from(body, 'latin1')
        const text = isPartial ? decoders[stream].write(bytes) : decoders[stream].end(bytes)
        if (!query[stream] || (query.sinceMs !== undefined && Date.parse(time) < query.sinceMs)) return []
        return [{ time, stream, text, isPartial }]
      })
}

/** Where the last `count` lines begin, found by reading chunks from the end. */
async function tailStart(file: FileHandle, count: number): Promise<number> {
  const { size } = await file.stat()
  if (count === 0) return size
  let newlines = 0
  for (let end = size; end > 0; end -= CHUNK_BYTES) {
    const start = Math.max(0, end - CHUNK_BYTES)
    const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start)
    for (let at = buffer.length - 1; at >= 0; at--) {
      const isLastByte = start + at === size - 1
      if (buffer[at] === NEWLINE && !isLastByte && ++newlines === count) return start + at + 1
    }
  }
  return 0
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
}

/** Rings when the file changes; where it cannot be watched, readers look now and then all the same. */
function doorbell(path: string) {
  let wake = () => {}
  const watcher = (() => {
    try {
      return watch(path, { persistent: false }, () => wake()).on('error', () => {})
    } catch {
      return undefined
    }
  })()
  return {
    next: (clock: Clock, timeoutMs: number, signal: AbortSignal) => {
      const ringing = new AbortController()
      wake = () => ringing.abort()
      return clock.sleep(timeoutMs, AbortSignal.any([signal, ringing.signal]))
    },
    [Symbol.dispose]: () => watcher?.close(),
  }
}
