import type { MessageBus } from './message-bus.ts'
import { busUnavailable, type NatsConnection, natsBus } from './nats-bus.ts'

export interface NatsWsOptions {
  /** `wss://…`; `ws://` on loopback alone. */
  url: string
  user: string | undefined
  password: string | undefined
}

/** `connect` of the `nats.ws` package, as far as it is used here. */
export type NatsWsConnect = (options: {
  servers: string
  user?: string
  pass?: string
  reconnect: boolean
  timeout: number
}) => Promise<NatsConnection>

const CONNECT_MS = 2000

/**
 * A bus over WebSocket for one request: it connects at its first use and never again, since workerd binds a connection
 * to the request that opened it. Whoever made it closes it when the request is over.
 */
export function natsWsBus(connect: NatsWsConnect, options: NatsWsOptions): MessageBus {
  let opening: Promise<NatsConnection> | undefined
  let opened: NatsConnection | undefined
  const open = async () => {
    opened = await connect({
      servers: options.url,
      ...(options.user === undefined ? {} : { user: options.user, pass: options.password ?? '' }),
      reconnect: false,
      timeout: CONNECT_MS,
    })
    return opened
  }
  return natsBus({
    connectsAtUse: true,
    isConnected: () => opened !== undefined && !opened.isClosed(),
    connection: () => {
      opening ??= open().catch(cause => {
        throw busUnavailable(cause)
      })
      return opening
    },
    close: async () => {
      await opening?.catch(() => {})
      await opened?.close()
    },
  })
}
