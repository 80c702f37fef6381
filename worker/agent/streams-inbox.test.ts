import { setTimeout } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { fakeMessageBus } from '#shared/ports/message-bus.fake.ts'
import { STREAM_FRAME_BYTES, STREAM_WINDOW, SUBJECTS } from '#shared/protocol/bus.ts'
import { decodeFrame, type StreamFrame } from '#shared/protocol/stream-frame.ts'
import { answerStreams } from './streams-inbox.ts'

const hostId = 'aaaaaaaaaaaaaaaa' as HostId
const containerId = 'bbbbbbbbbbbbbbbb' as ContainerId
const nonce = 'c'.repeat(32)
const text = (value: string) => new TextEncoder().encode(value)

/** The frames that answer one request, acknowledged as they come, or none at all. */
async function frames(
  open: () => AsyncGenerator<Uint8Array, void>,
  isAcknowledged = true,
  atMost = Infinity,
  order: object = { kind: 'changes', containerId },
) {
  const bus = fakeMessageBus()
  const stopping = new AbortController()
  const log = pino({ level: 'silent' })
  const answering = answerStreams({ bus, hostId, clock: systemClock, log, open, signal: stopping.signal })
  await using stream = await bus.subscribe(SUBJECTS.stream(nonce))
  const request = { nonce, order }
  await bus.publish(SUBJECTS.hostStreams(hostId), text(JSON.stringify(request)))
  const found: (StreamFrame | undefined)[] = []
  for await (const { body } of stream) {
    const frame = decodeFrame(body)
    found.push(frame)
    if (frame?.kind === 'end' || found.length >= atMost) break
    if (isAcknowledged) await bus.publish(SUBJECTS.streamAck(nonce), text(JSON.stringify({ seq: frame?.seq })))
  }
  stopping.abort()
  await answering
  return found
}

test('a sign of life, bytes, then the end', async () => {
  const found = await frames(async function* () {
    yield text('hello')
  })
  expect(found).toEqual([
    { kind: 'idle', seq: 1 },
    { kind: 'data', seq: 2, bytes: text('hello') },
    { kind: 'end', seq: 3 },
  ])
})

test('what fails while its reader lags is told, and harms nobody else', async () => {
  const late: unknown[] = []
  const onLate = (reason: unknown) => late.push(reason)
  process.on('unhandledRejection', onLate)
  const found = await frames(
    async function* () {
      for (let made = 0; made < STREAM_WINDOW - 1; made++) yield text('x')
      throw new SlipwayError('container.files-unavailable', 'It is gone.')
    },
    false,
    STREAM_WINDOW,
  )
  await setTimeout(50)
  process.off('unhandledRejection', onLate)
  expect(found).toHaveLength(STREAM_WINDOW)
  expect(late).toEqual([])
})

test('what does not fit into one frame comes in several', async () => {
  const bytes = Uint8Array.from({ length: 2 * STREAM_FRAME_BYTES + 5 }, (_, at) => at)
  const found = await frames(async function* () {
    yield bytes
  })
  const pieces = found.slice(1).map(frame => (frame?.kind === 'data' ? frame.bytes : new Uint8Array(0)))
  expect(pieces.map(({ length }) => length)).toEqual([STREAM_FRAME_BYTES, STREAM_FRAME_BYTES, 5, 0])
  expect(Buffer.concat(pieces).equals(bytes)).toBe(true)
})

test('a reader that acknowledges nothing gets no more than the window', async () => {
  let made = 0
  const found = await frames(
    async function* () {
      for (; made < 10 * STREAM_WINDOW; made++) yield text('x')
    },
    false,
    STREAM_WINDOW,
  )
  expect(found).toHaveLength(STREAM_WINDOW)
  expect(made).toBeLessThanOrEqual(STREAM_WINDOW + 1)
})

test('what cannot be opened is an answer at once, not a silence', async () => {
  const found = await frames(() => {
    throw new SlipwayError('container.files-unavailable', 'There is none.')
  })
  expect(found).toMatchObject([
    { kind: 'idle', seq: 1 },
    { kind: 'end', seq: 2, error: { code: 'container.files-unavailable', message: 'There is none.' } },
  ])
})

test.each([{ kind: 'dance' }, { kind: 'prune', images: true, buildCache: true, unusedForMs: 0, keepBytes: 2 ** 53 }])(
  'an order that the agent cannot read is refused, not met with silence: %j',
  async order => {
    const never = () => {
      throw new Error('nothing is to be opened')
    }
    const found = await frames(never, true, 1, order)
    expect(found).toMatchObject([{ kind: 'end', seq: 1, error: { code: 'request.invalid' } }])
  },
)
