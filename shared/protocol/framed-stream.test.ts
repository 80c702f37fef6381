import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'nats'
import { connect as connectWs } from 'nats.ws'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { freePort } from '#test/support/slipway.ts'
import { SlipwayError } from '../errors.ts'
import { type Clock, systemClock } from '../ports/clock.ts'
import type { MessageBus } from '../ports/message-bus.ts'
import { natsTcpBus } from '../ports/nats-tcp.ts'
import { natsWsBus } from '../ports/nats-ws.ts'
import { STREAM_WINDOW } from './bus.ts'
import { readFrames, sendFrames } from './framed-stream.ts'

/** Frames over a real nats-server, from one connection to another. */
const folder = mkdtempSync(join(tmpdir(), 'slipway-frames-'))
const port = await freePort()
const wsPort = await freePort()
writeFileSync(
  join(folder, 'nats.conf'),
  `listen: "127.0.0.1:${port}"\nmax_payload: 1048576\nwebsocket { listen: "127.0.0.1:${wsPort}", no_tls: true }\n`,
)
const server = spawn('nats-server', ['-c', join(folder, 'nats.conf')], { stdio: 'ignore' })
const who = { user: undefined, password: undefined }
const tcp = () => natsTcpBus(connect, { ...who, url: `nats://127.0.0.1:${port}`, name: 'test' })
const ws = () => natsWsBus(connectWs, { ...who, url: `ws://127.0.0.1:${wsPort}` })
let sender: MessageBus

beforeAll(async () => {
  sender = tcp()
  expect(await waitUntil(async () => sender.isConnected(), 10_000)).toBe(true)
}, 15_000)
afterAll(async () => {
  await sender.close()
  const gone = new Promise(resolve => server.once('exit', resolve))
  server.kill('SIGTERM')
  await gone
  rmSync(folder, { recursive: true, force: true })
})

let streams = 0
interface Setup {
  reader: MessageBus
  clock?: Clock
  signal?: AbortSignal
  isPatient?: boolean
  endsWithSignal?: boolean
}
/** What `make` yields, as it comes out at the other side, and the end of sending. */
async function through(make: (over: AbortSignal) => AsyncGenerator<Uint8Array, void>, setup: Setup) {
  const name = `test.${++streams}`
  const { reader, clock = systemClock, signal = new AbortController().signal, ...options } = setup
  const way = { clock, frames: name, acks: `${name}.ack` }
  const incoming = await reader.subscribe(name)
  const sending = sendFrames({ ...way, bus: sender, signal, ...options }, make)
  const silent = (why: string) => new SlipwayError('host.unreachable', why)
  const never = new AbortController().signal
  const pieces = readFrames(incoming, { ...way, bus: reader, signal: never, firstMs: 5000, silent, ...options })
  return { pieces, sending, close: () => incoming[Symbol.asyncDispose]() }
}

/** A hundred times as fast as time. */
const fast: Clock = {
  now: () => Date.now() * 100,
  sleep: (ms, signal) => systemClock.sleep(ms / 100, signal),
}
const block = (at: number) => new Uint8Array(100_000).fill(at)

describe.each([
  ['TCP', tcp],
  ['WebSocket', ws],
])('frames to a reader over %s', (_name, open) => {
  test('come whole and in order, however large the pieces', async () => {
    const reader = open()
    const sent = createHash('sha256')
    const seen = createHash('sha256')
    const { pieces, sending, close } = await through(
      async function* () {
        for (let at = 0; at < 200; at++) {
          const piece = new Uint8Array(1 + ((at * 7919) % 600_000)).fill(at)
          sent.update(piece)
          yield piece
        }
      },
      { reader },
    )
    for await (const piece of pieces) seen.update(piece)
    await sending
    expect(seen.digest('hex')).toBe(sent.digest('hex'))
    await close()
    await reader.close()
  })

  test('wait for a reader that takes nothing, and none is lost', async () => {
    const reader = open()
    let made = 0
    const { pieces, close } = await through(
      async function* () {
        for (; made < 3 * STREAM_WINDOW; made++) yield block(made)
      },
      { reader },
    )
    const first = await pieces.next()
    await systemClock.sleep(300)
    expect(made).toBeLessThanOrEqual(STREAM_WINDOW + 1)
    const seen = first.done ? [] : [first.value[0]]
    for await (const piece of pieces) seen.push(piece[0])
    expect(seen).toEqual(Array.from({ length: 3 * STREAM_WINDOW }, (_, at) => at % 256))
    await close()
    await reader.close()
  })
})

test.each([
  [true, 3],
  [false, 0],
])('a reader that takes its time (patient: %s) is waited for, or given up', async (isPatient, more) => {
  const reader = tcp()
  const { pieces, sending, close } = await through(
    async function* () {
      for (let at = 0; at < 2 * STREAM_WINDOW; at++) yield block(at)
    },
    { reader, clock: fast, isPatient },
  )
  await pieces.next()
  const ended = await Promise.race([sending.then(() => true), systemClock.sleep(1500).then(() => false)])
  expect(ended).toBe(!isPatient)
  for (let at = 0; at < more; at++) expect((await pieces.next()).done).toBe(false)
  await pieces.return(undefined)
  await close()
  await sending
  await reader.close()
})

test.each([
  [true, 'the end'],
  [false, 'silence'],
])('a sender that is told to stop (its end is one: %s) leaves %s', async (endsWithSignal, expected) => {
  const reader = tcp()
  const stop = new AbortController()
  const { pieces, sending, close } = await through(
    async function* (over) {
      yield block(1)
      await systemClock.sleep(60_000, over)
    },
    { reader, clock: fast, signal: stop.signal, endsWithSignal },
  )
  await pieces.next()
  const next = pieces.next().then(
    ({ done }) => (done ? 'the end' : 'more'),
    () => 'silence',
  )
  stop.abort()
  await sending
  expect(await next).toBe(expected)
  await close()
  await reader.close()
})
