import { SlipwayError } from '../errors.ts'
import { MAX_PENDING, type Message, type MessageBus, type Subscription } from './message-bus.ts'
import { enqueueInNats, ensureNatsQueue, type NatsStreams, takeFromNats } from './nats-queue.ts'

/** The part of a NATS client that a bus needs; the `nats` and `nats.ws` packages both have it. */
export interface NatsConnection extends NatsStreams {
  publish(subject: string, body: Uint8Array): void
  subscribe(subject: string): NatsSubscription
  flush(): Promise<void>
  close(): Promise<void>
  isClosed(): boolean
}

export interface NatsSubscription extends AsyncIterable<{ subject: string; data: Uint8Array }> {
  unsubscribe(): void
  getPending(): number
}

export interface NatsLink {
  /** The connection once there is one; rejects when there is none yet and will not be within two seconds. */
  connection(): Promise<NatsConnection>
  isConnected(): boolean
  /** Nobody connects before there is something to say; otherwise a message without a connection fails at once. */
  connectsAtUse: boolean
  close(): Promise<void>
}

const PUBLISH_MS = 1000
const QUEUE_MS = 5000

/** A bus over any NATS client: core NATS without history or acknowledgement, and JetStream for queues alone. */
export function natsBus(link: NatsLink): MessageBus {
  return {
    isConnected: () => link.isConnected(),
    publish: async (subject, body) => {
      if (!link.isConnected()) {
        if (!link.connectsAtUse) throw busUnavailable()
        await withDeadline(link.connection(), PUBLISH_MS)
        // A client that reconnects would keep the message for later: a ring that comes too late is none.
        if (!link.isConnected()) throw busUnavailable()
      }
      const connection = await link.connection()
      connection.publish(subject, body)
    },
    subscribe: async subject => {
      const connection = await link.connection()
      const inner = connection.subscribe(subject)
      if (link.isConnected()) await withDeadline(connection.flush(), PUBLISH_MS).catch(() => {}) // Restored on reconnect.
      return subscription(inner)
    },
    enqueue: (queue, body, messageId) =>
      inTime(link, QUEUE_MS, connection => enqueueInNats(connection, queue, body, messageId)),
    ensureQueue: queue => inTime(link, QUEUE_MS, connection => ensureNatsQueue(connection, queue)),
    take: (queue, waitMs) => inTime(link, waitMs + QUEUE_MS, connection => takeFromNats(connection, queue, waitMs)),
    close: () => link.close(),
  }
}

async function inTime<T>(link: NatsLink, ms: number, ask: (connection: NatsConnection) => Promise<T>): Promise<T> {
  const work = async () => {
    try {
      return await ask(await link.connection())
    } catch (cause) {
      throw cause instanceof SlipwayError ? cause : busUnavailable(cause)
    }
  }
  return withDeadline(work(), ms)
}

function subscription(inner: NatsSubscription): Subscription {
  async function* messages(): AsyncGenerator<Message, void> {
    for await (const { subject, data } of inner) {
      if (inner.getPending() > MAX_PENDING) continue // Too many wait: doorbells may be dropped.
      yield { subject, body: data }
    }
  }
  return {
    [Symbol.asyncIterator]: messages,
    [Symbol.asyncDispose]: async () => inner.unsubscribe(),
  }
}

export function busUnavailable(cause?: unknown): SlipwayError {
  return new SlipwayError(
    'bus.unavailable',
    'The message bus does not answer: see that nats-server runs and is reached.',
    { cause },
  )
}

function withDeadline<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(busUnavailable()), timeoutMs)
  return Promise.race([work, promise]).finally(() => clearTimeout(timer))
}
