import { systemClock } from './clock.ts'
import type { MessageBus } from './message-bus.ts'
import { busUnavailable, type NatsConnection, natsBus } from './nats-bus.ts'

export interface NatsOptions {
  url: string
  user: string | undefined
  password: string | undefined
  /** Shown in the server's list of connections. */
  name: string
  /** What answers to this connection are named after: subjects that others may not listen to. */
  inboxPrefix?: string
}

/** `connect` of the `nats` package, as far as it is used here; the two mains hand it in. */
export type NatsConnect = (options: {
  servers: string
  name: string
  user?: string
  pass?: string
  waitOnFirstConnect: boolean
  maxReconnectAttempts: number
  reconnectTimeWait: number
  reconnectJitter: number
  timeout: number
  pingInterval: number
  maxPingOut: number
  ignoreAuthErrorAbort: boolean
  inboxPrefix?: string
}) => Promise<NatsConnection & { status(): AsyncIterable<{ type: string }> }>

/**
 * A bus over TCP that starts without its server and reconnects for ever. `connect` runs in the background until the
 * first connection; later ones are the client's own, which also restores subscriptions.
 */
export function natsTcpBus(connect: NatsConnect, options: NatsOptions): MessageBus {
  let connection: NatsConnection | undefined
  let isUp = false
  const closing = new AbortController()
  const open = async () => {
    const opened = await connect({
      servers: options.url,
      name: options.name,
      ...(options.user === undefined ? {} : { user: options.user, pass: options.password ?? '' }),
      ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      reconnectJitter: 300,
      timeout: 2000,
      pingInterval: 10_000,
      maxPingOut: 2,
      ignoreAuthErrorAbort: true, // The server may come back with our password again.
    })
    if (closing.signal.aborted) return void opened.close()
    connection = opened
    isUp = true
    watch(opened).catch(() => {})
  }
  const watch = async (opened: Awaited<ReturnType<NatsConnect>>) => {
    for await (const { type } of opened.status()) {
      if (type === 'disconnect' || type === 'reconnecting') isUp = false
      if (type === 'reconnect') isUp = true
    }
  }
  const keepTrying = async () => {
    for (let delayMs = 200; !closing.signal.aborted && !connection; delayMs = Math.min(10_000, delayMs * 2)) {
      await open().catch(() => systemClock.sleep(delayMs * (0.5 + Math.random()), closing.signal))
    }
  }
  const opening = keepTrying()
  return natsBus({
    connectsAtUse: false,
    isConnected: () => isUp,
    connection: async () => {
      if (!connection) await Promise.race([opening, new Promise(resolve => setTimeout(resolve, 2000).unref())])
      if (connection) return connection
      throw busUnavailable()
    },
    close: async () => {
      closing.abort()
      await connection?.close()
    },
  })
}
