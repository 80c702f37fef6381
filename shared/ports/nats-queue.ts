import type { QueuedMessage, WorkQueue } from './message-bus.ts'

/** JetStream as far as a queue needs it; `nats` and `nats.ws` both have it. */
export interface NatsStreams {
  jetstream(): {
    publish(subject: string, body: Uint8Array, options: { msgID: string; timeout: number }): Promise<unknown>
    consumers: { get(stream: string, consumer: string): Promise<{ next(options: { expires: number }): Next }> }
  }
  jetstreamManager(options: { checkAPI: boolean }): Promise<{
    streams: { add(config: object): Promise<unknown>; update(name: string, config: object): Promise<unknown> }
    consumers: { add(stream: string, config: object): Promise<unknown> }
  }>
}

type Next = Promise<{ data: Uint8Array; ack(): void; nak(delayMs?: number): void } | null>

const NANOSECONDS = 1_000_000
const ENQUEUE_MS = 1000
/** Dead takers and queues that fill up aside, this is what a queue of doorbells holds. */
const MESSAGE_BYTES = 1024
/** One consumer that all takers share. */
export const CONSUMER = 'takers'

/** A stream with the retention of a work queue, and its one durable consumer that takers pull from (docs.nats.io, JetStream). */
export async function ensureNatsQueue(connection: NatsStreams, queue: WorkQueue): Promise<void> {
  // Asking for the account's own figures would take one more permission.
  const manager = await connection.jetstreamManager({ checkAPI: false })
  const stream = {
    ...{ name: queue.name, subjects: [queue.subject], retention: 'workqueue', discard: 'old', storage: 'file' },
    ...{ max_msgs: queue.maxMessages, max_bytes: queue.maxMessages * MESSAGE_BYTES, max_msg_size: MESSAGE_BYTES },
    ...{ max_age: queue.maxAgeMs * NANOSECONDS, duplicate_window: Math.min(queue.maxAgeMs, 120_000) * NANOSECONDS },
  }
  await manager.streams.add(stream).catch(() => manager.streams.update(queue.name, stream))
  const consumer = { durable_name: CONSUMER, ack_policy: 'explicit', ack_wait: queue.takerMs * NANOSECONDS }
  await manager.consumers.add(queue.name, { ...consumer, max_deliver: queue.maxTakes })
}

/** A server without the queue (a new one, or one that lost its files) gets it then. */
export async function enqueueInNats(
  connection: NatsStreams,
  queue: WorkQueue,
  body: Uint8Array,
  messageId: string,
): Promise<void> {
  const publish = () => connection.jetstream().publish(queue.subject, body, { msgID: messageId, timeout: ENQUEUE_MS })
  try {
    await publish()
  } catch {
    await ensureNatsQueue(connection, queue)
    await publish()
  }
}

export async function takeFromNats(
  connection: NatsStreams,
  { name }: WorkQueue,
  waitMs: number,
): Promise<QueuedMessage | undefined> {
  const consumer = await connection.jetstream().consumers.get(name, CONSUMER)
  const message = await consumer.next({ expires: Math.round(waitMs) }) // The server takes whole nanoseconds alone.
  if (!message) return undefined
  return { body: message.data, done: () => message.ack(), passOn: afterMs => message.nak(afterMs) }
}
