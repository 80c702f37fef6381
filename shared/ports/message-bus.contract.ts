import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MessageBus, Subscription, WorkQueue } from './message-bus.ts'

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

/** What every work queue does. `open` gives two ends; `name` is of letters. */
export function describeWorkQueue(name: string, open: () => Promise<[MessageBus, MessageBus]>): void {
  describe(`work queue: ${name}`, () => {
    const queueOf = (own: string): WorkQueue => ({
      ...{ name: `${own}_${name.replaceAll(' ', '_')}`, subject: `slipway.queue.${own}.${name.replaceAll(' ', '')}` },
      ...{ maxMessages: 3, maxAgeMs: 60_000, takerMs: 30_000, maxTakes: 5 },
    })
    const world = async (own: string) => {
      const [sender, taker] = await open()
      const queue = queueOf(own)
      await sender.ensureQueue(queue)
      await sender.ensureQueue(queue) // The second time it is there.
      const say = (said: string, id = `${said} of ${own}`) => sender.enqueue(queue, bytes(said), id)
      const take = async (end: MessageBus, waitMs = 1000.3) => {
        const message = await end.take(queue, waitMs)
        return message && { ...message, said: text(message.body) }
      }
      const close = async () => {
        await sender.close()
        await taker.close()
      }
      return { sender, taker, say, take, [Symbol.asyncDispose]: close }
    }

    test('a message waits for a taker, and is for one alone', async () => {
      await using it = await world('one')
      await it.say('a')
      const both = await Promise.all([it.take(it.sender), it.take(it.taker)])
      const taken = both.filter(message => message !== undefined)
      expect(taken.map(({ said }) => said)).toEqual(['a'])
      taken[0]?.done()
      expect(await it.take(it.taker)).toBeUndefined()
    })

    test('what is said twice under one id is one message', async () => {
      await using it = await world('twice')
      await it.say('a', 'id-1')
      await it.say('a', 'id-1')
      ;(await it.take(it.taker))?.done()
      expect(await it.take(it.taker)).toBeUndefined()
    })

    test('what is passed on comes again, for another', async () => {
      await using it = await world('pass')
      await it.say('a')
      ;(await it.take(it.taker))?.passOn(100)
      const again = await it.take(it.sender)
      expect(again?.said).toBe('a')
      again?.done()
    })

    test('it is bounded: the oldest go', async () => {
      await using it = await world('bound')
      for (const said of ['1', '2', '3', '4', '5']) await it.say(said)
      const taken: (string | undefined)[] = []
      for (let at = 0; at < 4; at++) {
        const message = await it.take(it.taker)
        message?.done()
        taken.push(message?.said)
      }
      expect(taken).toEqual(['3', '4', '5', undefined])
    })

    test('a queue that is not there is made for its first message', async () => {
      await using it = await world('first')
      const queue = queueOf('unmade')
      await it.sender.enqueue(queue, bytes('a'), 'first')
      const message = await it.taker.take(queue, 1000)
      expect(message && text(message.body)).toBe('a')
      message?.done()
    })

    test('a queue that nobody made is said to be unavailable', async () => {
      await using it = await world('other')
      await expect(it.sender.take(queueOf('none'), 1000)).rejects.toMatchObject({ code: 'bus.unavailable' })
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
