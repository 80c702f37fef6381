import type { IncomingMessage } from 'node:http'

/** A request's bytes as they came off the socket: the stream that `Request` has on Node copies every chunk once more. */
export function requestBody(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  // What is left of a body is read and thrown away by the server, for a while: a client that writes before it reads would
  // see a broken pipe, and not our answer.
  const chunks = incoming.iterator({ destroyOnReturn: false })
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        const { done, value } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: async () => void (await chunks.return?.()),
    },
    { highWaterMark: 0 },
  )
}
