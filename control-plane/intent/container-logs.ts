import type { ContainerId, HostId, Random } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import {
  type LogLine,
  type LogsRequest,
  STREAM_IDLE_MS,
  type StreamFrame,
  SUBJECTS,
  streamFrameSchema,
} from '#shared/protocol/bus.ts'
import type { Ports } from '../ports.ts'

/** A host that does not begin to answer within this time is not there. */
const FIRST_FRAME_MS = 5000

export type LogsQuery = Omit<LogsRequest, 'nonce' | 'containerId'>

/**
 * Asks a container's host for its log over the bus and yields the lines as they come; each piece taken is acknowledged,
 * so the host never runs ahead by more than a window. Errors: `bus.unavailable`, `host.unreachable`, the host's own.
 */
export async function* containerLogs(
  ports: Ports,
  hostId: HostId,
  containerId: ContainerId,
  query: LogsQuery,
  signal: AbortSignal,
): AsyncGenerator<LogLine[], void> {
  const nonce = newNonce(ports.random)
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))
  await using frames = await ports.bus.subscribe(SUBJECTS.stream(nonce))
  await ports.bus.publish(SUBJECTS.hostLogs(hostId), encode({ nonce, containerId, ...query }))
  const incoming = frames[Symbol.asyncIterator]()
  for (let expected = 1; !signal.aborted; expected++) {
    const message = await withDeadline(ports, incoming.next(), expected === 1 ? FIRST_FRAME_MS : STREAM_IDLE_MS, signal)
    if (message === 'aborted' || message.done) return
    const frame: StreamFrame = streamFrameSchema.parse(JSON.parse(new TextDecoder().decode(message.value.body)))
    if (frame.seq !== expected) throw silent('lost a part of the log on its way')
    if (frame.kind === 'lines') yield frame.lines
    if (frame.kind === 'end' && frame.error) throw new SlipwayError(frame.error.code, frame.error.message)
    if (frame.kind === 'end') return
    await ports.bus.publish(SUBJECTS.streamAck(nonce), encode({ seq: frame.seq }))
  }
}

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
    `The container's host ${why}: see that its agent runs (GET /v1/hosts), and try again.`,
  )
}

function newNonce(random: Random): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  return Array.from(random(new Uint8Array(32)), byte => alphabet[byte & 31]).join('')
}
