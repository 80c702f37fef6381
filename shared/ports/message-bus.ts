/**
 * The doorbell. At most once, no history: whoever needs the truth reads the store. Adapters: NATS over TCP and over
 * WebSocket; `fakeMessageBus` in memory. All pass `message-bus.contract.ts`.
 */
export interface MessageBus {
  /** Whether messages can pass right now; a guess that may be old by a moment. */
  isConnected(): boolean
  /** Hands a message over, or throws `bus.unavailable`. Bounded: never waits longer than a second. */
  publish(subject: string, body: Uint8Array): Promise<void>
  /**
   * Subscribes; resolves once the server knows it, so that nothing published afterwards is missed while connected.
   * `subject` may end in `.*` or `.>` as NATS has it. Adapters that reconnect by themselves restore subscriptions.
   * At most `MAX_PENDING` messages wait; older ones are dropped, since a doorbell may be.
   * Throws `bus.unavailable` when the bus cannot be reached within two seconds and the adapter does not reconnect.
   */
  subscribe(subject: string): Promise<Subscription>
  close(): Promise<void>
}

export const MAX_PENDING = 4096

export interface Message {
  subject: string
  body: Uint8Array
}

/** Iteration ends when the subscription is disposed of or the bus closes. */
export interface Subscription extends AsyncIterable<Message>, AsyncDisposable {}
