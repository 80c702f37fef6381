import { SlipwayError } from '#shared/errors.ts'

/**
 * The part of a body that is wanted: `skip` bytes are left out, `take` may follow, and it ends early, without an error,
 * once `isOver`. Errors the stream: `upstream.digest-mismatch` for more bytes than the blob has, `upstream.answer-invalid`
 * for a body that begins too late.
 */
export function portion(
  body: ReadableStream<Uint8Array>,
  { skip, take }: { skip: number; take: number },
  isOver: () => boolean,
): ReadableStream<Uint8Array> {
  let toSkip = skip
  let left = take
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      start() {
        if (skip < 0) throw new SlipwayError('upstream.answer-invalid', 'The upstream gave another range than asked.')
      },
      transform(chunk, controller) {
        const part = chunk.subarray(Math.min(toSkip, chunk.length))
        toSkip -= chunk.length - part.length
        left -= part.length
        if (left < 0) {
          throw new SlipwayError('upstream.digest-mismatch', 'More bytes came than the blob has: nothing was kept.')
        }
        if (part.length > 0) controller.enqueue(part)
        if (isOver()) controller.terminate()
      },
    }),
  )
}
