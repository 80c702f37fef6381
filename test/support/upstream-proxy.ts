import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * A registry as the world has them: it passes requests on to a real one, writes down what it was asked, and misbehaves
 * where a test says so.
 */
export interface UpstreamProxy extends AsyncDisposable {
  url: string
  seen: Seen[]
  /** How often a path that holds this text was asked for. */
  count(method: string, text: string): number
  /** Answers in place of the registry while `misbehaviour` returns true. */
  misbehave(misbehaviour: Misbehaviour | undefined): void
  /** Connections are refused from now on. */
  stop(): Promise<void>
}

export interface Seen {
  method: string
  path: string
  authorization: string | undefined
  range: string | undefined
}
export type Misbehaviour = (seen: Seen, response: ServerResponse) => boolean

/** Without a target it has nothing. `own` headers replace the client's on the way to the target. */
export async function upstreamProxy(
  target: string | undefined,
  own: Record<string, string> = {},
): Promise<UpstreamProxy> {
  const seen: Seen[] = []
  let misbehaviour: Misbehaviour | undefined
  const server = createServer((incoming, response) => {
    const { authorization, range } = incoming.headers
    const asked: Seen = { method: incoming.method ?? '', path: incoming.url ?? '', authorization, range }
    seen.push(asked)
    if (misbehaviour?.(asked, response)) return
    if (target === undefined) return void response.writeHead(404).end()
    passOn(target, own, incoming, response)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const stop = () =>
    new Promise<void>(resolve => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    count: (method, text) => seen.filter(one => one.method === method && one.path.includes(text)).length,
    misbehave: how => {
      misbehaviour = how
    },
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

function passOn(
  target: string,
  own: Record<string, string>,
  incoming: IncomingMessage,
  response: ServerResponse,
): void {
  const options = { method: incoming.method, headers: { ...incoming.headers, ...own } }
  const outgoing = request(new URL(incoming.url ?? '', target), options, answer => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(response)
  })
  outgoing.on('error', () => response.destroy())
  incoming.pipe(outgoing)
}
