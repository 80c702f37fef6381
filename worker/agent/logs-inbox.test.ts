import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { fakeMessageBus } from '#shared/ports/message-bus.fake.ts'
import { type LogLine, type LogsRequest, SUBJECTS, streamFrameSchema } from '#shared/protocol/bus.ts'
import { answerLogs, noLog } from './logs-inbox.ts'

const hostId = 'aaaaaaaaaaaaaaaa' as HostId
const containerId = 'bbbbbbbbbbbbbbbb' as ContainerId
const nonce = 'c'.repeat(32)
const line: LogLine = { time: '2026-01-01T00:00:00Z', stream: 'stdout', text: 'hello', isPartial: false }

/** The frames that answer one request. */
async function frames(read: (request: LogsRequest) => AsyncGenerator<LogLine[], void>) {
  const bus = fakeMessageBus()
  const stopping = new AbortController()
  const log = pino({ level: 'silent' })
  const answering = answerLogs({ bus, hostId, clock: systemClock, log, read, signal: stopping.signal })
  await using stream = await bus.subscribe(SUBJECTS.stream(nonce))
  const request: LogsRequest = { nonce, containerId, follow: false, stdout: true, stderr: true }
  await bus.publish(SUBJECTS.hostLogs(hostId), new TextEncoder().encode(JSON.stringify(request)))
  const found = []
  for await (const { body } of stream) {
    const frame = streamFrameSchema.parse(JSON.parse(new TextDecoder().decode(body)))
    found.push(frame)
    if (frame.kind === 'end') break
  }
  stopping.abort()
  await answering
  return found
}

test('lines, then the end', async () => {
  const found = await frames(async function* () {
    yield [line]
  })
  expect(found).toEqual([
    { kind: 'lines', seq: 1, lines: [line] },
    { kind: 'end', seq: 2 },
  ])
})

test('a log that was never written is an answer at once, not a silence', async () => {
  const found = await frames(() => {
    throw noLog(containerId)
  })
  expect(found).toMatchObject([{ kind: 'end', seq: 1, error: { code: 'container.logs-unavailable' } }])
})
