import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { messageQueue, type SocketPeer } from '#shared/ports/socket-peer.ts'
import { STREAM_FRAME_BYTES, SUBJECTS, streamRequestSchema } from '#shared/protocol/bus.ts'
import { CHANNEL, channelMessage, exitStatus, textMessage } from '#shared/protocol/channels.ts'
import { readFrames, sendFrames } from '#shared/protocol/framed-stream.ts'
import { openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import type { Ports } from '../ports.ts'
import { attach, FLOW_WINDOW } from './attach.ts'

const hostId = 'aaaaaaaaaaaaaaaa' as HostId
const order = { kind: 'attach', containerId: 'bbbbbbbbbbbbbbbb' as ContainerId } as const
const never = new AbortController().signal
let world: RegistryWorld
let ports: Ports

beforeAll(async () => {
  world = await openRegistryWorld()
  ports = { ...world.ports, clock: systemClock }
})
afterAll(() => world[Symbol.asyncDispose]())

type Pieces = AsyncGenerator<Uint8Array, void>

/** Answers one request as a host would: `talk` has what the client sends, and yields what the process writes. */
async function host(talk: (input: Pieces) => Pieces): Promise<void> {
  const { bus, clock } = ports
  await using requests = await bus.subscribe(SUBJECTS.hostStreams(hostId))
  for await (const { body } of requests) {
    const { nonce } = streamRequestSchema.parse(JSON.parse(new TextDecoder().decode(body)))
    const way = { bus, clock, signal: never }
    const [frames, acks] = [SUBJECTS.streamInput(nonce), SUBJECTS.streamInputAck(nonce)]
    await using incoming = await bus.subscribe(frames)
    const silent = (why: string) => new SlipwayError('host.unreachable', why)
    const input = readFrames(incoming, { ...way, frames, acks, firstMs: 5000, silent })
    const out = { ...way, frames: SUBJECTS.stream(nonce), acks: SUBJECTS.streamAck(nonce) }
    return await sendFrames(out, () => talk(input)) // The subscription is there until then.
  }
}

function client() {
  const queue = messageQueue()
  const sent: Uint8Array[] = []
  const closed = Promise.withResolvers<[number, string]>()
  const peer: SocketPeer = {
    messages: queue.messages,
    send: async message => void sent.push(message),
    close: (code, reason) => closed.resolve([code, reason]),
  }
  return { peer, queue, sent, closed: closed.promise }
}

const options = { isCounted: false, isPatient: true }

test('stdin that waits goes together, in pieces that fit into a frame; other messages keep their place', async () => {
  const { peer, queue, sent, closed } = client()
  const got: Uint8Array[] = []
  const serving = host(async function* (input) {
    for await (const message of input) {
      got.push(message)
      if (message[0] === CHANNEL.close) break
    }
    yield exitStatus(0)
  })
  for (const text of ['a', 'b', 'c']) queue.push(textMessage(CHANNEL.stdin, text))
  queue.push(textMessage(CHANNEL.resize, '{"Width":1,"Height":1}'))
  queue.push(channelMessage(CHANNEL.stdin, new Uint8Array(300_000)))
  queue.push(channelMessage(CHANNEL.close, Uint8Array.of(CHANNEL.stdin)))
  await attach(ports, hostId, order, peer, options)
  await serving
  expect(Buffer.from(got[0] ?? '').toString()).toBe('\0abc')
  expect(got[1]?.[0]).toBe(CHANNEL.resize)
  const rest = got.slice(2, -1)
  expect(rest.reduce((sum, { length }) => sum + length - 1, 0)).toBe(300_000)
  for (const { length } of rest) expect(length).toBeLessThanOrEqual(STREAM_FRAME_BYTES)
  expect(sent).toEqual([exitStatus(0)])
  expect(await closed).toEqual([1000, 'ended'])
})

test('a counted client gets no more than the window ahead of what it took, and is told what was taken', async () => {
  const { peer, queue, sent } = client()
  const piece = channelMessage(CHANNEL.stdout, new Uint8Array(200_000))
  const serving = host(async function* (input) {
    await input.next()
    for (let at = 0; at < 50; at++) yield piece
    yield exitStatus(0)
  })
  queue.push(channelMessage(CHANNEL.stdin, new Uint8Array(100_000)))
  for (let at = 0; at < 3; at++) queue.push(channelMessage(CHANNEL.stdin, new Uint8Array(100_000)))
  const attached = attach(ports, hostId, order, peer, { isCounted: true, isPatient: true })
  const bytes = () => sent.filter(([channel]) => channel === CHANNEL.stdout).length * 200_000
  await expect.poll(bytes).toBeGreaterThan(FLOW_WINDOW - 200_000)
  await systemClock.sleep(100)
  expect(bytes()).toBeLessThanOrEqual(FLOW_WINDOW + 200_000)
  queue.push(textMessage(CHANNEL.taken, String(50 * 200_000)))
  await attached
  await serving
  expect(bytes()).toBe(50 * 200_000)
})

test('what the host refuses is told on the status channel, and by the code of the close', async () => {
  const { peer, sent, closed } = client()
  const serving = host(() => {
    throw new SlipwayError('container.not-running', 'It does not run.')
  })
  await attach(ports, hostId, order, peer, options)
  await serving
  expect(Buffer.from(sent[0]?.subarray(1) ?? '').toString()).toContain('It does not run.')
  expect(await closed).toEqual([1011, 'container.not-running'])
})

test('the host hears that a client has gone', async () => {
  const { peer, queue } = client()
  let isGone = false
  const serving = host(async function* (input) {
    yield textMessage(CHANNEL.stdout, 'x')
    for await (const _ of input);
    isGone = true
  })
  const attached = attach(ports, hostId, order, peer, options)
  await systemClock.sleep(50)
  queue.end()
  await Promise.all([attached, serving])
  expect(isGone).toBe(true)
})
