import type { Context } from 'hono'
import type { AppEnv } from './environment.ts'

/** Makes pieces of an answer while they are asked for; the signal says that the client has left. */
export type Pieces = (gone: AbortSignal) => AsyncGenerator<Uint8Array, void>

/**
 * Answers with pieces that are made one at a time, when the client takes them. The first is made before the answer
 * begins, so that a failure is a problem with its status; a later one breaks the connection off. HEAD makes none: Hono
 * drops the body of its answer without ending it, and whoever makes the pieces would wait for ever.
 */
export async function streamed(c: Context<AppEnv>, headers: Record<string, string>, make: Pieces): Promise<Response> {
  if (c.req.method === 'HEAD') return c.body(null, 200, withoutStore(headers))
  const gone = goneSignal(c)
  const pieces = make(gone.signal)
  const first = await pieces.next()
  return c.body(bodyOf(pieces, gone, first), 200, withoutStore(headers))
}

/** The same where the first piece may be long in coming: the answer begins at once. */
export function streamedAtOnce(c: Context<AppEnv>, headers: Record<string, string>, make: Pieces): Response {
  const gone = goneSignal(c)
  return c.body(bodyOf(make(gone.signal), gone), 200, withoutStore(headers))
}

const withoutStore = (headers: Record<string, string>) => ({ ...headers, 'cache-control': 'no-store' })

function goneSignal(c: Context<AppEnv>): AbortController {
  const gone = new AbortController()
  c.req.raw.signal.addEventListener('abort', () => gone.abort())
  return gone
}

function bodyOf(
  pieces: ReturnType<Pieces>,
  gone: AbortController,
  first?: IteratorResult<Uint8Array, void>,
): ReadableStream<Uint8Array> {
  let made = first
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        const piece = made ?? (await pieces.next())
        made = undefined
        if (piece.done) controller.close()
        else controller.enqueue(piece.value)
      },
      cancel: async () => {
        gone.abort()
        await pieces.return(undefined)
      },
    },
    { highWaterMark: 0 },
  )
}
