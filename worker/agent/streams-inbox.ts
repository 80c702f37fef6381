import type { Logger } from 'pino'
import type { HostId } from '#shared/domain/ids.ts'
import { type Fault, SlipwayError, toFault } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { MessageBus } from '#shared/ports/message-bus.ts'
import {
  STREAM_FRAME_BYTES,
  STREAM_IDLE_MS,
  STREAM_WINDOW,
  type StreamOrder,
  type StreamRequest,
  SUBJECTS,
  streamAskerSchema,
  streamRequestSchema,
} from '#shared/protocol/bus.ts'
import { encodeFrame } from '#shared/protocol/stream-frame.ts'

export interface StreamsInboxOptions {
  bus: MessageBus
  hostId: HostId
  clock: Clock
  log: Logger
  /** What was asked for; throws, at once or while it is read, what the asker is told. Pieces of any size. */
  open(order: StreamOrder, signal: AbortSignal): AsyncGenerator<Uint8Array, void>
  signal: AbortSignal
}

const MAX_STREAMS = 64
const IDLE_FRAME_MS = STREAM_IDLE_MS / 3

/** Answers what a host is asked to send until the signal: each time a stream of frames that its reader acknowledges. */
export async function answerStreams(options: StreamsInboxOptions): Promise<void> {
  const { bus, hostId, log, signal } = options
  await using requests = await bus.subscribe(SUBJECTS.hostStreams(hostId))
  signal.addEventListener('abort', () => void requests[Symbol.asyncDispose]())
  let streams = 0
  for await (const { body } of requests) {
    const request = streamRequestSchema.safeParse(parse(body))
    if (!request.success) await refuse(options, body).catch(error => log.warn({ err: error }, 'a refusal was not told'))
    if (!request.success || streams >= MAX_STREAMS) continue
    streams++
    stream(options, request.data)
      .catch(error => log.warn({ err: error, order: request.data.order }, 'a stream broke off'))
      .finally(() => streams--)
  }
}

/** An order that this agent cannot read, of a newer API, say: silence would be taken for a host that is away. */
async function refuse({ bus }: StreamsInboxOptions, body: Uint8Array): Promise<void> {
  const asker = streamAskerSchema.safeParse(parse(body))
  if (!asker.success) return
  const error = new SlipwayError(
    'request.invalid',
    'The host does not understand what it is asked for: bring its agent and the API to the same version.',
  )
  await bus.publish(SUBJECTS.stream(asker.data.nonce), encodeFrame({ kind: 'end', error: toFault(error), seq: 1 }))
}

async function stream(options: StreamsInboxOptions, { nonce, order }: StreamRequest): Promise<void> {
  const { bus, clock, open, signal } = options
  const over = new AbortController()
  const ended = AbortSignal.any([signal, over.signal])
  const window = await acknowledgements(bus, clock, nonce, over)
  await using _ = window
  let seq = 0
  const send = (frame: SendableFrame) => bus.publish(SUBJECTS.stream(nonce), encodeFrame({ ...frame, seq: ++seq }))
  let pieces: AsyncGenerator<Uint8Array, void> | undefined
  try {
    await send({ kind: 'idle' }) // The asker waits for the rest with more patience than for a host that may be away.
    pieces = inFrames(open(order, ended))
    const ask = (from: AsyncGenerator<Uint8Array, void>) => {
      const piece = from.next()
      piece.catch(() => {}) // Met when its turn comes, which a slow reader may put off.
      return piece
    }
    let next = ask(pieces)
    while (!ended.aborted) {
      if (!(await window.hasRoom(seq, ended))) return
      const quiet = new AbortController()
      const first = await Promise.race([next, silence(clock, AbortSignal.any([ended, quiet.signal]))])
      quiet.abort()
      if (ended.aborted) return
      if (first === 'quiet') {
        await send({ kind: 'idle' })
        continue
      }
      if (first.done) return await send({ kind: 'end' })
      await send({ kind: 'data', bytes: first.value })
      next = ask(pieces)
    }
  } catch (error) {
    await send({ kind: 'end', error: toFault(error) })
  } finally {
    over.abort()
    await pieces?.return(undefined)
  }
}

type SendableFrame = { kind: 'data'; bytes: Uint8Array } | { kind: 'idle' } | { kind: 'end'; error?: Fault }

const silence = (clock: Clock, signal: AbortSignal) => clock.sleep(IDLE_FRAME_MS, signal).then(() => 'quiet' as const)

/** Cuts what is too large for one frame. */
async function* inFrames(pieces: AsyncGenerator<Uint8Array, void>): AsyncGenerator<Uint8Array, void> {
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += STREAM_FRAME_BYTES) yield piece.subarray(at, at + STREAM_FRAME_BYTES)
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
