import { expect, test } from 'vitest'
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
  await expect(readDelivery(second.body, String(8 * MIB), room)).rejects.toMatchObject({
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
  const { body, send } = openBody()
  const reading = readDelivery(body, undefined, room)
  for (let sent = 0; sent < 3; sent++) send(MIB)
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
  await expect(readDelivery(body, undefined, room)).rejects.toMatchObject({ code: 'request.too-large' })
  const large = readDelivery(openBody().body, String(MAX_DELIVERY_BYTES + 1), room)
  await expect(large).rejects.toMatchObject({ code: 'request.too-large' })
  const endless = readDelivery(openBody().body, String(MAX_DELIVERY_BYTES), room, 20)
  await expect(endless).rejects.toMatchObject({ code: 'request.timeout' })
  expect(room.take(100 * MIB)).toBe(true)
})
