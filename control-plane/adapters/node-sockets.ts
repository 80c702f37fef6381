import { upgradeWebSocket } from '@hono/node-server'
import type { Context } from 'hono'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { LONGEST_MESSAGE, MOST_WAITING_BYTES, messageQueue, type SocketPeer } from '#shared/ports/socket-peer.ts'
import { CHANNEL_PROTOCOL } from '#shared/protocol/channels.ts'

/** A client that answers no ping for so long has gone. */
const PING_MS = 15_000
const SILENT_MS = 45_000

/** What `serve` of Hono's server takes to open WebSockets. */
export function openSocketServer(): WebSocketServer {
  return new WebSocketServer({
    ...{ noServer: true, maxPayload: LONGEST_MESSAGE, perMessageDeflate: false },
    handleProtocols: offered => (offered.has(CHANNEL_PROTOCOL) ? CHANNEL_PROTOCOL : false),
  })
}

export async function upgradeOnNode(c: Context, talk: (peer: SocketPeer) => Promise<void>): Promise<Response> {
  const handler = upgradeWebSocket(() => ({
    onOpen: (_event, { raw }) => {
      const socket = raw as WebSocket | undefined // Hono names the least of it.
      if (socket) talk(nodePeer(socket)).catch(() => socket.close(1011))
    },
  }))
  return (await handler(c, async () => {})) ?? new Response(null, { status: 400 })
}

function nodePeer(socket: WebSocket): SocketPeer {
  const queue = messageQueue(() => socket.resume())
  socket.on('message', (data: RawData, isBinary: boolean) => {
    if (!isBinary) return socket.close(1003, 'binary messages alone')
    queue.push(Array.isArray(data) ? Buffer.concat(data) : new Uint8Array(data))
    if (queue.waitingBytes() > MOST_WAITING_BYTES) socket.pause()
  })
  let heardAt = Date.now()
  socket.on('pong', () => (heardAt = Date.now()))
  const pings = setInterval(() => {
    // One that waits for its reader is not heard: it is not its fault.
    if (socket.isPaused) heardAt = Date.now()
    if (Date.now() - heardAt > SILENT_MS) socket.terminate()
    else socket.ping()
  }, PING_MS)
  socket.on('error', () => socket.terminate())
  socket.on('close', () => {
    clearInterval(pings)
    queue.end()
  })
  return {
    messages: queue.messages,
    send: message => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      socket.send(message, error => (error ? reject(error) : resolve()))
      promise.catch(() => {}) // Also where nobody waits for it.
      return socket.bufferedAmount > MOST_WAITING_BYTES || socket.readyState !== socket.OPEN
        ? promise
        : Promise.resolve()
    },
    close: (code, reason) => socket.close(code, reason),
  }
}
