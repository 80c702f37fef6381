import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MessageBus, Subscription } from './message-bus.ts'

const text = (body: Uint8Array) => new TextDecoder().decode(body)
const bytes = (said: string) => new TextEncoder().encode(said)

/** What every MessageBus does. `open` gives two ends that reach each other; both are closed afterwards. */
export function describeMessageBus(name: string, open: () => Promise<[MessageBus, MessageBus]>): void {
  describe(`message bus: ${name}`, () => {
    let sender: MessageBus
    let receiver: MessageBus

    beforeEach(async () => {
      ;[sender, receiver] = await open()
    })
    afterEach(async () => {
      await sender.close()
      await receiver.close()
    })

    const take = async (subscription: Subscription, count: number) => {
      const taken: string[] = []
      for await (const { subject, body } of subscription) {
        taken.push(`${subject} ${text(body)}`)
        if (taken.length === count) break
      }
      return taken
    }

    test('what is published after subscribing arrives, in order, with its subject', async () => {
      const subscription = await receiver.subscribe('slipway.test.a')
      for (const said of ['1', '2', '3']) await sender.publish('slipway.test.a', bytes(said))
      expect(await take(subscription, 3)).toEqual(['slipway.test.a 1', 'slipway.test.a 2', 'slipway.test.a 3'])
    })

    test('subjects and wildcards match as NATS has it', async () => {
      const one = await receiver.subscribe('slipway.test.*')
      const deep = await receiver.subscribe('slipway.test.>')
      await sender.publish('slipway.other', bytes('no'))
      await sender.publish('slipway.test.x.y', bytes('deep'))
      await sender.publish('slipway.test.x', bytes('flat'))
      expect(await take(one, 1)).toEqual(['slipway.test.x flat'])
      expect(await take(deep, 2)).toEqual(['slipway.test.x.y deep', 'slipway.test.x flat'])
    })

    test('each subscription gets its own copy', async () => {
      const first = await receiver.subscribe('slipway.test.b')
      const second = await receiver.subscribe('slipway.test.b')
      await sender.publish('slipway.test.b', bytes('both'))
      expect(await take(first, 1)).toEqual(await take(second, 1))
    })

    test('iteration ends when the subscription is disposed of', async () => {
      const subscription = await receiver.subscribe('slipway.test.c')
      const all = take(subscription, 10)
      await subscription[Symbol.asyncDispose]()
      expect(await all).toEqual([])
    })

    test('iteration ends when the bus closes', async () => {
      const subscription = await receiver.subscribe('slipway.test.d')
      const all = take(subscription, 10)
      await receiver.close()
      expect(await all).toEqual([])
    })

    test('bytes come as they were, and it says that it is connected', async () => {
      const subscription = await receiver.subscribe('slipway.test.e')
      const body = Uint8Array.from({ length: 256 }, (_, at) => at)
      await sender.publish('slipway.test.e', body)
      for await (const message of subscription) {
        expect([...message.body]).toEqual([...body])
        break
      }
      expect(sender.isConnected()).toBe(true)
    })
  })
}

/** What an adapter does whose server cannot be reached. */
export function describeUnreachable(name: string, open: () => MessageBus): void {
  test(`message bus: ${name} says that it cannot be reached, within its deadlines`, async () => {
    const bus = open()
    await expect(bus.publish('slipway.test', bytes('x'))).rejects.toMatchObject({ code: 'bus.unavailable' })
    await expect(bus.subscribe('slipway.test')).rejects.toMatchObject({ code: 'bus.unavailable' })
    expect(bus.isConnected()).toBe(false)
    await bus.close()
  })
}
