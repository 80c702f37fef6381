/**
 * A client at the other end of a WebSocket. Adapters: `ws` below Hono's server on Node, workerd's own. Either ends it
 * when the client has gone.
 */
export interface SocketPeer {
  /** Binary messages in their order, those that wait together, until the client has gone or the signal says so. Read once. */
  messages(signal: AbortSignal): AsyncGenerator<Uint8Array[], void>
  /** Done when there is room for more, as far as the platform says; rejects when the client has gone. */
  send(message: Uint8Array): Promise<void>
  /** `code` as in RFC 6455, §7.4. */
  close(code: number, reason: string): void
}

/** Turns a request into a WebSocket, and lets `talk` have it. What it throws closes the socket. */
export type Upgrade<C> = (c: C, talk: (peer: SocketPeer) => Promise<void>) => Response | Promise<Response>

/** No message is longer: clients' are cut by nobody. */
export const LONGEST_MESSAGE = 1024 * 1024
/** Where the platform can, a client that is so far ahead of its reader has to wait. */
export const MOST_WAITING_BYTES = 2 * 1024 * 1024

/** Messages that wait for their reader. `onRoom`: told when what waited was taken. */
export function messageQueue(onRoom: () => void = () => {}) {
  let waiting: Uint8Array[] = []
  let bytes = 0
  let isEnded = false
  let wake = () => {}
  return {
    push: (message: Uint8Array) => {
      waiting.push(message)
      bytes += message.length
      wake()
    },
    end: () => {
      isEnded = true
      wake()
    },
    waitingBytes: () => bytes,
    messages: async function* (signal: AbortSignal): AsyncGenerator<Uint8Array[], void> {
      signal.addEventListener('abort', () => wake())
      while (!signal.aborted) {
        if (waiting.length > 0) {
          const taken = waiting
          waiting = []
          bytes = 0
          onRoom()
          yield taken
        } else if (isEnded) return
        else await new Promise<void>(resolve => (wake = resolve))
      }
    },
  }
}
