import type { HostId, Random } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { STREAM_IDLE_MS, type StreamOrder, type StreamRequest, SUBJECTS } from '#shared/protocol/bus.ts'
import { decodeFrame } from '#shared/protocol/stream-frame.ts'
import type { Ports } from '../ports.ts'

/** A host that does not begin to answer within this time is not there. */
const FIRST_FRAME_MS = 5000

/**
 * Asks a host for something over the bus and yields its bytes as they come; each piece taken is acknowledged, so the
 * host never runs ahead by more than a window. Errors: `bus.unavailable`, `host.unreachable`, the host's own.
 */
export async function* streamFromHost(
  ports: Ports,
  hostId: HostId,
  order: StreamOrder,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const request: StreamRequest = { nonce: newNonce(ports.random), order }
  await using frames = await ports.bus.subscribe(SUBJECTS.stream(request.nonce))
  await ports.bus.publish(SUBJECTS.hostStreams(hostId), encode(request))
  const incoming = frames[Symbol.asyncIterator]()
  for (let expected = 1; !signal.aborted; expected++) {
    const message = await withDeadline(ports, incoming.next(), expected === 1 ? FIRST_FRAME_MS : STREAM_IDLE_MS, signal)
    if (message === 'aborted' || message.done) return
    const frame = decodeFrame(message.value.body)
    if (frame?.seq !== expected) throw silent('lost a part of the answer on its way')
    if (frame.kind === 'data') yield frame.bytes
    if (frame.kind === 'end' && frame.error) throw new SlipwayError(frame.error.code, frame.error.message)
    if (frame.kind === 'end') return
    await ports.bus.publish(SUBJECTS.streamAck(request.nonce), encode({ seq: frame.seq }))
  }
}

/** The lines of such a stream, those that came at once together. */
export async function* linesOf(pieces: AsyncGenerator<Uint8Array, void>): AsyncGenerator<string[], void> {
  const decoder = new TextDecoder()
  let begun = ''
  for await (const piece of pieces) {
    const lines = (begun + decoder.decode(piece, { stream: true })).split('\n')
    begun = lines.pop() ?? ''
    if (lines.length > 0) yield lines
  }
}

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

async function withDeadline<T>(
  ports: Ports,
  work: Promise<T>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<T | 'aborted'> {
  const timer = new AbortController()
  const timeout = ports.clock.sleep(timeoutMs, AbortSignal.any([signal, timer.signal])).then(() => 'late' as const)
  try {
    const first = await Promise.race([work, timeout])
    if (first !== 'late') return first
    if (signal.aborted) return 'aborted'
    throw silent('does not answer')
  } finally {
    timer.abort()
  }
}

function silent(why: string): SlipwayError {
  return new SlipwayError(
    'host.unreachable',
    `The host ${why}: see that its agent runs (GET /v1/hosts), and try again.`,
  )
}

function newNonce(random: Random): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  return Array.from(random(new Uint8Array(32)), byte => alphabet[byte & 31]).join('')
}
