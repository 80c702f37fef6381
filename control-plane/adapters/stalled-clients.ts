import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Ends connections on which nothing moves for `stallMs` while it is the client's turn: it owes the rest of its body, or
 * does not take what we have for it. Each holds a file descriptor or two, and a MB of memory, for as long as it lasts.
 * A client that waits for us may wait as long as it likes: a blob may be long on its way, and a log have nothing to say.
 */
export function endStalledClients(server: Server, stallMs: number): void {
  server.setTimeout(stallMs)
  server.on('request', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // Node tells a request only while its body is not whole, and the response always.
    incoming.on('timeout', (socket: Socket) => socket.destroy())
    outgoing.on('timeout', (socket: Socket) => {
      if (socket.writableLength > 0) socket.destroy()
    })
  })
}
