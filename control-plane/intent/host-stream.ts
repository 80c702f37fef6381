import type { HostId, Random } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { type AttachOrder, type StreamOrder, type StreamRequest, SUBJECTS } from '#shared/protocol/bus.ts'
import { readFrames, sendFrames } from '#shared/protocol/framed-stream.ts'
import type { Ports } from '../ports.ts'

/** A host that does not begin to answer within this time is not there. */
const FIRST_FRAME_MS = 5000

type Pieces = AsyncGenerator<Uint8Array, void>

/**
 * Asks a host for something over the bus and yields its bytes as they come; each piece taken is acknowledged, so the
 * host never runs ahead by more than a window. Errors: `bus.unavailable`, `host.unreachable`, the host's own.
 */
export async function* streamFromHost(
  ports: Ports,
  hostId: HostId,
  order: Exclude<StreamOrder, AttachOrder>,
  signal: AbortSignal,
): Pieces {
  yield* ask(ports, hostId, order, signal, {})
}

/**
 * The same with a way to the host: what `input` yields is sent there, from the host's first word on and until the host
 * has said its last. The end of `input` says that whoever asked has gone. `isPatient`: the reader may take its time.
 */
export async function* talkToHost(
  ports: Ports,
  hostId: HostId,
  order: AttachOrder,
  input: (over: AbortSignal) => Pieces,
  options: { signal: AbortSignal; isPatient: boolean },
): Pieces {
  const { bus, clock } = ports
  const over = new AbortController()
  const signal = AbortSignal.any([options.signal, over.signal])
  let sending: Promise<void> | undefined
  try {
    yield* ask(ports, hostId, order, options.signal, {
      isPatient: options.isPatient,
      onHeard: nonce => {
        const way = { bus, clock, frames: SUBJECTS.streamInput(nonce), acks: SUBJECTS.streamInputAck(nonce), signal }
        sending = sendFrames({ ...way, endsWithSignal: true }, input).catch(() => over.abort())
      },
    })
  } finally {
    over.abort()
    await sending
  }
}

async function* ask(
  { bus, clock, random }: Ports,
  hostId: HostId,
  order: StreamOrder,
  signal: AbortSignal,
  { onHeard, isPatient = false }: { onHeard?: (nonce: string) => void; isPatient?: boolean },
): Pieces {
  const request: StreamRequest = { nonce: newNonce(random), order }
  const frames = SUBJECTS.stream(request.nonce)
  await using incoming = await bus.subscribe(frames)
  await bus.publish(SUBJECTS.hostStreams(hostId), new TextEncoder().encode(JSON.stringify(request)))
  yield* readFrames(incoming, {
    ...{ bus, clock, frames, acks: SUBJECTS.streamAck(request.nonce), signal },
    ...{ firstMs: FIRST_FRAME_MS, silent, isPatient, onHeard: () => onHeard?.(request.nonce) },
  })
}

/** The lines of such a stream, those that came at once together. */
export async function* linesOf(pieces: Pieces): AsyncGenerator<string[], void> {
  const decoder = new TextDecoder()
  let begun = ''
  for await (const piece of pieces) {
    const lines = (begun + decoder.decode(piece, { stream: true })).split('\n')
    begun = lines.pop() ?? ''
    if (lines.length > 0) yield lines
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
