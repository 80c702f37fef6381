import type { Logger } from 'pino'
import type { HostId } from '#shared/domain/ids.ts'
import { type Fault, SlipwayError, toFault } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { MessageBus } from '#shared/ports/message-bus.ts'
import {
  type LogLine,
  type LogsRequest,
  logsRequestSchema,
  STREAM_IDLE_MS,
  STREAM_WINDOW,
  type StreamFrame,
  SUBJECTS,
} from '#shared/protocol/bus.ts'

export interface LogsInboxOptions {
  bus: MessageBus
  hostId: HostId
  clock: Clock
  log: Logger
  /** The log of a container; throws, at once or while it is read, when there is none. */
  read(request: LogsRequest, signal: AbortSignal): AsyncGenerator<LogLine[], void>
  signal: AbortSignal
}

const MAX_STREAMS = 64
const IDLE_FRAME_MS = STREAM_IDLE_MS / 3

/** Answers requests for logs until the signal: each one a stream of frames that its reader acknowledges. */
export async function answerLogs(options: LogsInboxOptions): Promise<void> {
  const { bus, hostId, log, signal } = options
  await using requests = await bus.subscribe(SUBJECTS.hostLogs(hostId))
  signal.addEventListener('abort', () => void requests[Symbol.asyncDispose]())
  let streams = 0
  for await (const { body } of requests) {
    const request = logsRequestSchema.safeParse(parse(body))
    if (!request.success || streams >= MAX_STREAMS) continue
    streams++
    stream(options, request.data)
      .catch(error => log.warn({ err: error }, 'a log stream broke off'))
      .finally(() => streams--)
  }
}

async function stream({ bus, clock, read, signal }: LogsInboxOptions, request: LogsRequest): Promise<void> {
  const over = new AbortController()
  const ended = AbortSignal.any([signal, over.signal])
  const window = await acknowledgements(bus, clock, request.nonce, over)
  await using _ = window
  let seq = 0
  const send = async (
    frame: { kind: 'idle' } | { kind: 'lines'; lines: LogLine[] } | { kind: 'end'; error?: Fault },
  ) => {
    const whole: StreamFrame = { ...frame, seq: ++seq }
    await bus.publish(SUBJECTS.stream(request.nonce), new TextEncoder().encode(JSON.stringify(whole)))
  }
  let lines: ReturnType<typeof read> | undefined
  try {
    lines = read(request, ended)
    let next = lines.next()
    while (!ended.aborted) {
      if (!(await window.hasRoom(seq, ended))) return
      const quiet = clock.sleep(IDLE_FRAME_MS, ended).then(() => 'quiet' as const)
      const first = await Promise.race([next, quiet])
      if (ended.aborted) return
      if (first === 'quiet') {
        await send({ kind: 'idle' })
        continue
      }
      if (first.done) return await send({ kind: 'end' })
      await send({ kind: 'lines', lines: first.value })
      next = lines.next()
    }
  } catch (error) {
    await send({ kind: 'end', error: toFault(error) })
  } finally {
    over.abort()
    await lines?.return(undefined)
  }
}

/** How far the reader is; a reader that says nothing for too long ends the stream. */
async function acknowledgements(bus: MessageBus, clock: Clock, nonce: string, over: AbortController) {
  const subscription = await bus.subscribe(SUBJECTS.streamAck(nonce))
  let taken = 0
  let heardAt = clock.now()
  let wake = () => {}
  const listen = async () => {
    for await (const { body } of subscription) {
      const said = parse(body)
      if (typeof said !== 'object' || said === null || !('seq' in said)) continue
      taken = Math.max(taken, Number(said.seq))
      heardAt = clock.now()
      wake()
    }
  }
  listen().catch(() => {})
  return {
    hasRoom: async (seq: number, signal: AbortSignal): Promise<boolean> => {
      while (seq - taken >= STREAM_WINDOW && !signal.aborted) {
        const ringing = new AbortController()
        wake = () => ringing.abort()
        await clock.sleep(1000, AbortSignal.any([signal, ringing.signal]))
        if (clock.now() - heardAt > STREAM_IDLE_MS) over.abort()
      }
      // Idle frames are acknowledged too: silence over several of them means that nobody reads.
      if (seq > taken && clock.now() - heardAt > STREAM_IDLE_MS) over.abort()
      return !signal.aborted
    },
    [Symbol.asyncDispose]: () => subscription[Symbol.asyncDispose](),
  }
}

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body))
  } catch {
    return undefined
  }
}

export function noLog(id: string): SlipwayError {
  return new SlipwayError(
    'container.logs-unavailable',
    `There is no log of container ${id} on this host, which does not know it (any more).`,
  )
}
