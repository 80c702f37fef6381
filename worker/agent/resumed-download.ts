import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'

/** In a row, without a byte between them. */
const FAILURES = 4
const FIRST_DELAY_MS = 250

/**
 * The bytes that `open` gives, all of them: when the line breaks in the middle, what is missing is asked for from there
 * on. `open` gets the position to begin at, and throws what is worth another attempt as a SlipwayError with `retry`.
 */
export async function* resumedDownload(
  open: (from: number) => Promise<AsyncIterable<Uint8Array>>,
  clock: Clock,
): AsyncGenerator<Uint8Array, void> {
  let at = 0
  for (let failures = 0; ; ) {
    try {
      for await (const chunk of await open(at)) {
        at += chunk.length
        failures = 0
        yield chunk
      }
      return
    } catch (error) {
      failures++
      if (failures > FAILURES || !isWorthRetrying(error)) throw error
      await clock.sleep(FIRST_DELAY_MS * 2 ** failures * (0.5 + Math.random() / 2))
    }
  }
}

/** A broken body is told by the platform's own errors; what the API refused stays refused. */
function isWorthRetrying(error: unknown): boolean {
  return error instanceof SlipwayError ? error.retry : true
}
