import type { Logger } from 'pino'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError, toFault } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { MessageBus } from '#shared/ports/message-bus.ts'
import {
  STREAM_IDLE_MS,
  type StreamOrder,
  type StreamRequest,
  SUBJECTS,
  streamAskerSchema,
  streamRequestSchema,
} from '#shared/protocol/bus.ts'
import { readFrames, sendFrames } from '#shared/protocol/framed-stream.ts'
import { encodeFrame } from '#shared/protocol/stream-frame.ts'

type Pieces = AsyncGenerator<Uint8Array, void>

export interface StreamsInboxOptions {
  bus: MessageBus
  hostId: HostId
  clock: Clock
  log: Logger
  /**
   * What was asked for; throws, at once or while it is read, what the asker is told. Pieces of any size. `input`: what
   * the asker sends, of an order that takes it; it ends when the asker has gone.
   */
  open(order: StreamOrder, signal: AbortSignal, input: Pieces): Pieces
  signal: AbortSignal
}

function haveTooMany(): never {
  throw new SlipwayError(
    'exec.too-many',
    `This host sends ${MAX_STREAMS} streams already: end one, or try again later.`,
  )
}

/** Of all kinds; somebody who is attached is one. */
const MAX_STREAMS = 256

/** Answers what a host is asked to send until the signal: each time a stream of frames that its reader acknowledges. */
export async function answerStreams(options: StreamsInboxOptions): Promise<void> {
  const { bus, hostId, log, signal } = options
  await using requests = await bus.subscribe(SUBJECTS.hostStreams(hostId))
  signal.addEventListener('abort', () => void requests[Symbol.asyncDispose]())
  let streams = 0
  for await (const { body } of requests) {
    const request = streamRequestSchema.safeParse(parse(body))
    if (!request.success) await refuse(options, body).catch(error => log.warn({ err: error }, 'a refusal was not told'))
    // Whoever is too many is told so, as long as that is not too much itself.
    if (!request.success || streams >= 2 * MAX_STREAMS) continue
    streams++
    const answered = streams > MAX_STREAMS ? { ...options, open: haveTooMany } : options
    stream(answered, request.data)
      .catch(error => log.warn({ err: error, order: request.data.order.kind }, 'a stream broke off'))
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
  const way = { bus, clock, signal }
  // Heard before the first frame says that it may be sent.
  await using input = await (order.kind === 'attach' || order.kind === 'exec-attach' ? hear(options, nonce) : nothing)
  const out = { ...way, frames: SUBJECTS.stream(nonce), acks: SUBJECTS.streamAck(nonce) }
  await sendFrames(out, over => open(order, over, input.pieces(over)))
}

async function* none(): Pieces {}
const nothing = { pieces: none, [Symbol.asyncDispose]: async () => {} }

async function hear({ bus, clock }: StreamsInboxOptions, nonce: string) {
  const frames = SUBJECTS.streamInput(nonce)
  const incoming = await bus.subscribe(frames)
  return {
    pieces: (signal: AbortSignal) =>
      readFrames(incoming, {
        ...{ bus, clock, frames, acks: SUBJECTS.streamInputAck(nonce), signal },
        // A process may be slow to read, or not read at all.
        ...{ firstMs: STREAM_IDLE_MS, silent, isPatient: true },
      }),
    [Symbol.asyncDispose]: () => incoming[Symbol.asyncDispose](),
  }
}

const silent = (why: string) => new SlipwayError('host.unreachable', `Whoever was attached ${why}.`)

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body))
  } catch {
    return undefined
  }
}
