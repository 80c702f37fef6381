import { expect, test } from 'vitest'
import { decodeFrame, encodeFrame, type StreamFrame } from './stream-frame.ts'

const FRAMES: StreamFrame[] = [
  { kind: 'data', seq: 1, bytes: Uint8Array.from([0, 255, 10, 123]) },
  { kind: 'data', seq: 2 ** 32 - 1, bytes: new Uint8Array(0) },
  { kind: 'idle', seq: 7 },
  { kind: 'end', seq: 8, error: undefined },
  { kind: 'end', seq: 9, error: { code: 'container.not-found', message: 'gone' } },
]

test.each(FRAMES)('a frame comes out as it went in: $kind $seq', frame => {
  // Inside a larger buffer, as messages come off a socket.
  const encoded = encodeFrame(frame)
  const shifted = new Uint8Array(encoded.length + 3)
  shifted.set(encoded, 3)
  expect(decodeFrame(shifted.subarray(3))).toEqual(frame)
})

test.each([[], [0, 0, 0], [9, 0, 0, 0, 1], [2, 0, 0, 0, 1, 123]])('what is no frame is none: %s', (...bytes) => {
  expect(decodeFrame(Uint8Array.from(bytes))).toBeUndefined()
})
