import type { Context } from 'hono'
import { listen } from '../notify/listen.ts'
import type { Ports } from '../ports.ts'
import type { AppEnv } from './environment.ts'
import { streamedAtOnce } from './streamed.ts'

/** Something that grows in the store, read again and again: events, a build's log. */
export interface Tail {
  subject: string
  /** What came since the last call, as text for the client; `isEnd` closes the stream. */
  read(): Promise<{ text: string; isEnd: boolean }>
  /** Sent when there was nothing to say for a while, so that nothing in between gives the connection up. */
  heartbeat: string
}

const LOOK_EVERY_MS = 1000
const PAUSE_MS = 50
const HEARTBEAT_MS = 15_000
/** A stream ends by itself after so many reads or so long, and clients resume: edge functions bound both. */
const MAX_READS = 500
const MAX_LIFE_MS = 5 * 60 * 1000

/** Streams a tail to the client until it ends, the client leaves or its time is over. Holds one piece at a time. */
export function streamTail(c: Context<AppEnv>, contentType: string, tail: Tail): Response {
  const encoder = new TextEncoder()
  return streamedAtOnce(c, { 'content-type': contentType, 'x-accel-buffering': 'no' }, async function* (gone) {
    for await (const text of follow(c.get('ports'), tail, gone)) yield encoder.encode(text)
  })
}

async function* follow(ports: Ports, tail: Tail, gone: AbortSignal): AsyncGenerator<string, void> {
  await using listener = await listen(ports, tail.subject)
  const begin = ports.clock.now()
  let lastSaid = begin
  for (let reads = 0; reads < MAX_READS && !gone.aborted && ports.clock.now() - begin < MAX_LIFE_MS; reads++) {
    const { text, isEnd } = await tail.read()
    const isQuiet = text === '' && ports.clock.now() - lastSaid > HEARTBEAT_MS
    if (text !== '' || isQuiet) {
      lastSaid = ports.clock.now()
      yield text || tail.heartbeat
    }
    if (isEnd) return
    if (text !== '') continue // There may be more than one read takes.
    await listener.next(LOOK_EVERY_MS, gone)
    await ports.clock.sleep(PAUSE_MS, gone) // Many rings are read together.
  }
}

/** One server-sent event. */
export function sse(id: number | string, event: string, data: unknown): string {
  return `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}

export const SSE = 'text/event-stream; charset=utf-8'
export const SSE_HEARTBEAT = ': still here\n\n'
