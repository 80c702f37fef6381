/**
 * The doorbell. At most once, no history: whoever needs the truth reads the store. Adapters: NATS over TCP and over
 * WebSocket; `fakeMessageBus` in memory. All pass `message-bus.contract.ts`.
 */
export interface MessageBus {
  /** Whether messages can pass right now; a guess that may be old by a moment. */
  isConnected(): boolean
  /**
   * Hands a message over, or throws `bus.unavailable`. Bounded: never waits longer than a second.
   */
  publish(subject: string, body: Uint8Array): Promise<void>
  /**
   * Subscribes; resolves once the server knows it, so that nothing published afterwards is missed while connected.
   * `subject` may end in `.*` or `.>` as NATS has it. Adapters that reconnect by themselves restore subscriptions.
   * At most `MAX_PENDING` messages wait; older ones are dropped, since a doorbell may be.
   * Throws `bus.unavailable` when the bus cannot be reached within two seconds and the adapter does not reconnect.
   */
  subscribe(subject: string): Promise<Subscription>
  /**
   * Puts a message into a queue, which is made where there is none: it waits there for a taker. `messageId` makes it one message,
   * however often it is put there. Throws `bus.unavailable`; five seconds at most.
   */
  enqueue(queue: WorkQueue, body: Uint8Array, messageId: string): Promise<void>
  /** Makes a work queue, or changes it to this. Idempotent. Throws `bus.unavailable`. */
  ensureQueue(queue: WorkQueue): Promise<void>
  /**
   * The next message of a queue: whoever takes it is the only one, until it passes it on or dies. Undefined: none came within
   * `waitMs` (at least a second). Throws `bus.unavailable`, also where there is no such queue.
   */
  take(queue: WorkQueue, waitMs: number): Promise<QueuedMessage | undefined>
  close(): Promise<void>
}

export const MAX_PENDING = 4096

export interface Message {
  subject: string
  body: Uint8Array
}

/** Iteration ends when the subscription is disposed of or the bus closes. */
export interface Subscription extends AsyncIterable<Message>, AsyncDisposable {}

/** Messages that wait until one taker has done with them; bounded in number and age, the oldest go first. */
export interface WorkQueue {
  name: string
  subject: string
  maxMessages: number
  maxAgeMs: number
  /** After so long without a word a taker is taken for dead, and the message is for the next. */
  takerMs: number
  /** Takes of one message. */
  maxTakes: number
}

export interface QueuedMessage {
  body: Uint8Array
  /** It is dealt with. */
  done(): void
  /** It is for another: not before `afterMs`. */
  passOn(afterMs: number): void
}
