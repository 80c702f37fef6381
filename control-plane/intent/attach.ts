import type { HostId } from '#shared/domain/ids.ts'
import { toFault } from '#shared/errors.ts'
import type { SocketPeer } from '#shared/ports/socket-peer.ts'
import type { AttachOrder } from '#shared/protocol/bus.ts'
import { CHANNEL, channelMessage, faultStatus, textMessage } from '#shared/protocol/channels.ts'
import type { Ports } from '../ports.ts'
import { talkToHost } from './host-stream.ts'

export interface AttachOptions {
  /** The client says how much it took, and is told how much was taken of its own: neither runs ahead by more than a window. */
  isCounted: boolean
  /** Of an exec's client: the process waits for it as long as it is there. */
  isPatient: boolean
}

/** Bytes of data that may be on their way to a counted client, and from it. */
export const FLOW_WINDOW = 4 * 1024 * 1024
/** So often a counted client is told what was taken. */
const TELL_BYTES = 256 * 1024
/** Input that waits together goes to the host together; with its channel it fits into one frame. */
const PIECE_BYTES = 128 * 1024
/** RFC 6455, §7.4.1. */
const CLOSE = { normal: 1000, failed: 1011 } as const

/**
 * Passes messages on between a client and a process on a host until the process has ended or the client has gone. What
 * goes wrong is told on the status channel, before the socket closes.
 */
export async function attach(
  ports: Ports,
  hostId: HostId,
  order: AttachOrder,
  peer: SocketPeer,
  { isCounted, isPatient }: AttachOptions,
): Promise<void> {
  const gone = new AbortController()
  const room = isCounted ? countedRoom(gone.signal) : undefined
  const input = (over: AbortSignal) => inputOf(peer, gone, over, isCounted, taken => room?.taken(taken))
  try {
    for await (const message of talkToHost(ports, hostId, order, input, { signal: gone.signal, isPatient })) {
      const isData = message[0] === CHANNEL.stdout || message[0] === CHANNEL.stderr
      if (isData) await room?.forBytes(message.length - 1)
      if (gone.signal.aborted) return
      await peer.send(message)
    }
    peer.close(CLOSE.normal, 'ended')
  } catch (error) {
    if (gone.signal.aborted) return
    const fault = toFault(error)
    await peer.send(faultStatus(fault)).catch(() => {})
    peer.close(CLOSE.failed, fault.code)
  } finally {
    gone.abort()
  }
}

/** The client's messages for the host; it ends when the client has gone. */
async function* inputOf(
  peer: SocketPeer,
  gone: AbortController,
  over: AbortSignal,
  isCounted: boolean,
  onTaken: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void> {
  let taken = 0
  let told = 0
  for await (const messages of peer.messages(over)) {
    for (const message of joined(messages)) {
      if (message[0] === CHANNEL.taken) {
        onTaken(Number(new TextDecoder().decode(message.subarray(1))))
        continue
      }
      yield message
      if (message[0] !== CHANNEL.stdin) continue
      taken += message.length - 1
      if (!isCounted || taken - told < TELL_BYTES) continue
      told = taken
      await peer.send(textMessage(CHANNEL.taken, String(taken))).catch(() => {})
    }
  }
  if (!over.aborted) gone.abort()
}

/** Pieces of stdin that follow one another as one, cut where they are too long; everything else as it is. */
function* joined(messages: readonly Uint8Array[]): Generator<Uint8Array, void> {
  let pieces: Uint8Array[] = []
  let length = 0
  function* flush() {
    if (length > 0) yield channelMessage(CHANNEL.stdin, concatenated(pieces, length))
    pieces = []
    length = 0
  }
  for (const message of messages) {
    if (message[0] !== CHANNEL.stdin) {
      yield* flush()
      if (message.length <= PIECE_BYTES) yield message
      continue
    }
    for (let at = 1; at < message.length; at += PIECE_BYTES) {
      const piece = message.subarray(at, at + PIECE_BYTES)
      if (length + piece.length > PIECE_BYTES) yield* flush()
      pieces.push(piece)
      length += piece.length
    }
  }
  yield* flush()
}

function concatenated(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

/** Room at a client that says how much it took. */
function countedRoom(gone: AbortSignal) {
  let sent = 0
  let taken = 0
  let wake = () => {}
  gone.addEventListener('abort', () => wake())
  return {
    taken: (bytes: number) => {
      if (bytes > taken) taken = bytes
      wake()
    },
    forBytes: async (bytes: number) => {
      while (sent - taken > FLOW_WINDOW && !gone.aborted) await new Promise<void>(resolve => (wake = resolve))
      sent += bytes
    },
  }
}
