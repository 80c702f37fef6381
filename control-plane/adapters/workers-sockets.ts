import type { Context } from 'hono'
import { LONGEST_MESSAGE, messageQueue, type SocketPeer } from '#shared/ports/socket-peer.ts'
import { CHANNEL_PROTOCOL } from '#shared/protocol/channels.ts'

/** workerd's WebSockets as far as they are used here (developers.cloudflare.com, Workers, Runtime APIs, WebSockets). */
interface WorkersSocket {
  accept(): void
  send(message: Uint8Array): void
  close(code: number, reason: string): void
  addEventListener(type: 'message', listener: (event: { data: string | ArrayBuffer | Blob }) => void): void
  addEventListener(type: 'close' | 'error', listener: () => void): void
  binaryType?: string
}
declare const WebSocketPair: new () => [WorkersSocket, WorkersSocket]

/** workerd cannot make a client wait: one that is so far ahead of its reader is sent away. */
const MOST_AHEAD_BYTES = 24 * 1024 * 1024

/** `until`: told of the conversation, so that what it needs outlives the answer. */
export function upgradeOnWorkers(
  c: Context,
  talk: (peer: SocketPeer) => Promise<void>,
  until: (over: Promise<void>) => void,
): Response {
  const [client, server] = Object.values(new WebSocketPair()) as [WorkersSocket, WorkersSocket]
  server.accept()
  server.binaryType = 'arraybuffer'
  until(talk(workersPeer(server)).catch(() => server.close(1011, '')))
  const isOffered = c.req.header('sec-websocket-protocol')?.split(/, */).includes(CHANNEL_PROTOCOL)
  const headers: Record<string, string> = isOffered ? { 'sec-websocket-protocol': CHANNEL_PROTOCOL } : {}
  const init = { status: 101, webSocket: client, headers }
  return new Response(null, init as ResponseInit)
}

function workersPeer(socket: WorkersSocket): SocketPeer {
  const queue = messageQueue()
  let isGone = false
  const leave = () => {
    isGone = true
    queue.end()
  }
  const close = (code: number, reason: string) => {
    leave()
    socket.close(code, reason)
  }
  socket.addEventListener('message', ({ data }) => {
    if (!(data instanceof ArrayBuffer)) return close(1003, 'binary messages alone')
    if (data.byteLength > LONGEST_MESSAGE) return close(1009, 'a message is longer than 1 MiB')
    queue.push(new Uint8Array(data))
    if (queue.waitingBytes() > MOST_AHEAD_BYTES) close(1013, 'too far ahead: ask for flow control (flow=true)')
  })
  socket.addEventListener('close', leave)
  socket.addEventListener('error', leave)
  return {
    messages: queue.messages,
    send: async message => {
      if (isGone) throw new Error('The client has gone.')
      socket.send(message)
    },
    close,
  }
}
