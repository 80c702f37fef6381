import type { IncomingMessage } from 'node:http'

/** A request's bytes as they came off the socket: the stream that `Request` has on Node copies every chunk once more. */
export function requestBody(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  const chunks = incoming[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        const { done, value } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      // What is left of the body is not read: the connection ends with the answer.
      cancel: async () => void (await chunks.return?.()),
    },
    { highWaterMark: 0 },
  )
}
