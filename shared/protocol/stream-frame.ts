import { faultSchema } from '../domain/container.ts'
import type { Fault } from '../errors.ts'

/**
 * A piece of a stream that a host sends over the bus: a byte for its kind, four for its number (big-endian, from 1, one
 * higher each), and its bytes. Bytes as they are: as JSON they would take twice the room.
 */
export type StreamFrame =
  | { kind: 'data'; seq: number; bytes: Uint8Array }
  /** A sign of life of a stream that has nothing to say. */
  | { kind: 'idle'; seq: number }
  | { kind: 'end'; seq: number; error?: Fault | undefined }

const KINDS = ['data', 'idle', 'end'] as const
const HEADER_BYTES = 5

export function encodeFrame(frame: StreamFrame): Uint8Array {
  const payload = payloadOf(frame)
  const message = new Uint8Array(HEADER_BYTES + payload.length)
  message[0] = KINDS.indexOf(frame.kind)
  new DataView(message.buffer).setUint32(1, frame.seq)
  message.set(payload, HEADER_BYTES)
  return message
}

/** Undefined for what is no frame. */
export function decodeFrame(message: Uint8Array): StreamFrame | undefined {
  const kind = KINDS[message[0] ?? KINDS.length]
  if (message.length < HEADER_BYTES || kind === undefined) return undefined
  const seq = new DataView(message.buffer, message.byteOffset).getUint32(1)
  const bytes = message.subarray(HEADER_BYTES)
  if (kind === 'data') return { kind, seq, bytes }
  if (kind === 'idle') return { kind, seq }
  const fault = bytes.length === 0 ? undefined : faultSchema.safeParse(parse(bytes))
  return fault?.success === false ? undefined : { kind, seq, error: fault?.data }
}

function payloadOf(frame: StreamFrame): Uint8Array {
  if (frame.kind === 'data') return frame.bytes
  if (frame.kind === 'idle' || frame.error === undefined) return new Uint8Array(0)
  return new TextEncoder().encode(JSON.stringify(frame.error))
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}
