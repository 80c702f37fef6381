import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { requestBody } from '../adapters/request-body.ts'
import { DeliveryRoom } from '../intent/delivery-room.ts'
import { MAX_DELIVERY_BYTES, readDelivery } from './delivery-body.ts'

const MIB = 1024 ** 2

/** A body that comes when it is sent, and may never end. */
function openBody() {
  let send: ReadableStreamDefaultController<Uint8Array> | undefined
  const body = new ReadableStream<Uint8Array>({
    start: controller => {
      send = controller
    },
  })
  return { body, send: (bytes: number) => send?.enqueue(new Uint8Array(bytes)), end: () => send?.close() }
}

test('large bodies have a room in common, from when they are announced until they are done with', async () => {
  const room = new DeliveryRoom(10 * MIB)
  const first = openBody()
  const reading = readDelivery(first.body, String(8 * MIB), room)
  const second = openBody()
  await expect(readDelivery(second.body, String(8 * MIB), room, 20)).rejects.toMatchObject({
    code: 'hook.busy',
    facts: { retryAfterS: 10 },
  })
  first.send(MIB)
  first.end()
  const held = await reading
  expect(held.bytes).toHaveLength(MIB)
  expect(room.take(10 * MIB)).toBe(false)
  held[Symbol.dispose]()
  expect(room.take(10 * MIB)).toBe(true)
})

test('what nobody announced takes room as it comes, and gives it back when there is none', async () => {
  const room = new DeliveryRoom(MIB)
  const { body, send, end } = openBody()
  const reading = readDelivery(body, undefined, room)
  for (let sent = 0; sent < 3; sent++) send(MIB)
  end()
  await expect(reading).rejects.toMatchObject({ code: 'hook.busy' })
  expect(room.take(MIB)).toBe(true)
})

test('a small one needs no room', async () => {
  const { body, send, end } = openBody()
  send(100_000)
  end()
  using held = await readDelivery(body, '100000', new DeliveryRoom(0))
  expect(held.bytes).toHaveLength(100_000)
})

test('more than a forge sends is refused, and so is what does not end', async () => {
  const room = new DeliveryRoom(100 * MIB)
  const { body, send } = openBody()
  for (let sent = 0; sent < 26; sent++) send(MIB)
  await expect(readDelivery(body, undefined, room, 20)).rejects.toMatchObject({ code: 'request.too-large' })
  const large = readDelivery(openBody().body, String(MAX_DELIVERY_BYTES + 1), room, 20)
  await expect(large).rejects.toMatchObject({ code: 'request.too-large' })
  const endless = readDelivery(openBody().body, String(MAX_DELIVERY_BYTES), room, 20)
  await expect(endless).rejects.toMatchObject({ code: 'request.timeout' })
  expect(room.take(100 * MIB)).toBe(true)
})

test('what is refused is read on to its end, but not for ever, and holds no room meanwhile', async () => {
  const room = new DeliveryRoom(100 * MIB)
  const { body, send, end } = openBody()
  const reading = readDelivery(body, String(26 * MIB), room)
  reading.catch(() => {})
  for (let sent = 0; sent < 26; sent++) send(MIB)
  expect(await Promise.race([reading.catch(() => 'answered'), pause(20, 'still read')])).toBe('still read')
  expect(room.take(100 * MIB)).toBe(true)
  end()
  await expect(reading).rejects.toMatchObject({ code: 'request.too-large' })
  let given = 0
  const endless = new ReadableStream<Uint8Array>({
    pull: controller => {
      given++
      controller.enqueue(new Uint8Array(MIB))
    },
  })
  const other = readDelivery(endless, undefined, new DeliveryRoom(100 * MIB))
  await expect(other).rejects.toMatchObject({ code: 'request.too-large' })
  expect(given).toBeGreaterThan(26)
  expect(given).toBeLessThan(110)
})

describe('over a connection', () => {
  const server = createServer(async (incoming, outgoing) => {
    const body = requestBody(incoming)
    const reading = readDelivery(body, incoming.headers['content-length'], new DeliveryRoom(MIB), 50)
    outgoing.end(await reading.then(() => 'taken').catch(({ code }) => code))
  })
  let port: number
  beforeAll(async () => {
    await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
    port = z.object({ port: z.number() }).parse(server.address()).port
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  test.each([
    ['request.too-large', MAX_DELIVERY_BYTES + 1],
    ['hook.busy', 8 * MIB],
    ['request.timeout', 100],
  ])('who announces bytes and sends none hears %s all the same', async (code, bytes) => {
    const socket = connect(port, '127.0.0.1')
    socket.write(`POST / HTTP/1.1\r\nhost: here\r\ncontent-length: ${bytes}\r\n\r\n`)
    const [answer] = await once(socket, 'data')
    socket.destroy()
    expect(String(answer)).toContain(code)
  })
})
