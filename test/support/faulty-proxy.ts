import { connect, createServer, type Socket } from 'node:net'

/** What befalls a connection after so many bytes of one direction have gone through. */
export interface Fault {
  action: 'cut' | 'stall'
  /** `up`: what the client sends; `down`: what the server answers. */
  direction: 'up' | 'down'
  /** Of each connection that the fault befalls, since it was set. */
  afterBytes: number
  /** How many connections it befalls before all is well again; all when left out. */
  times?: number
}

/** A TCP proxy on loopback between a client and a server of this machine, which breaks on demand. */
export interface FaultyProxy extends AsyncDisposable {
  port: number
  /** From now on; undefined makes all well, and cuts what is stalled. */
  set(fault: Fault | undefined): void
  /** How many connections the fault befell since it was set. */
  struck(): number
}

export async function faultyProxy(serverPort: number): Promise<FaultyProxy> {
  const sockets = new Set<Socket>()
  let fault: Fault | undefined
  let struck = 0
  const closeAll = () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  const server = createServer(client => {
    const upstream = connect(serverPort, '127.0.0.1')
    const end = () => {
      for (const socket of [client, upstream]) {
        socket.destroy()
        sockets.delete(socket)
      }
    }
    for (const socket of [client, upstream])
      sockets.add(socket.setNoDelay()).add(socket.on('error', end).on('close', end))
    let isStruck = false
    const pass = (from: Socket, to: Socket, direction: Fault['direction']) => {
      let passed = 0
      from.on('data', bytes => {
        if (isStruck) return
        passed += bytes.length
        if (
          fault === undefined ||
          fault.direction !== direction ||
          struck === fault.times ||
          passed <= fault.afterBytes
        ) {
          to.write(bytes)
          return
        }
        isStruck = true
        struck++
        to.write(bytes.subarray(0, Math.max(0, bytes.length - (passed - fault.afterBytes))))
        if (fault.action === 'cut') setTimeout(end, 20) // What was let through arrives first.
      })
    }
    pass(client, upstream, 'up')
    pass(upstream, client, 'down')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy got no port')
  return {
    port: address.port,
    struck: () => struck,
    set: next => {
      closeAll() // Each test begins with new connections, counted from nothing.
      fault = next
      struck = 0
    },
    [Symbol.asyncDispose]: async () => {
      closeAll()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
