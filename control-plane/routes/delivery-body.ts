import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import type { DeliveryRoom } from '../intent/delivery-room.ts'

/** GitHub sends no more. */
export const MAX_DELIVERY_BYTES = 25 * 1024 * 1024
/** Nearly every push is smaller, and is taken whatever room large ones leave. */
const SMALL_BYTES = 256 * 1024
/** Forges give up sooner. */
const READ_MS = 30_000
const RETRY_AFTER_S = 10

/** A delivery's bytes, which have their room until they are disposed of. */
export interface DeliveryBody extends Disposable {
  bytes: Uint8Array<ArrayBuffer>
}

/**
 * Reads a delivery, of which nothing is known to be true yet. What it announces is taken from the room at once, what it does not
 * announce as it comes. Errors: `request.too-large`, `hook.busy`, `request.timeout`.
 */
export async function readDelivery(
  body: ReadableStream<Uint8Array> | null,
  announced: string | undefined,
  room: DeliveryRoom,
  readMs = READ_MS,
): Promise<DeliveryBody> {
  let held = 0
  const makeRoom = (bytes: number) => {
    if (bytes > MAX_DELIVERY_BYTES) throw tooLarge()
    const more = bytes - SMALL_BYTES - held
    if (more <= 0) return
    if (!room.take(more)) throw busy()
    held += more
  }
  try {
    makeRoom(/^\d{1,15}$/.test(announced ?? '') ? Number(announced) : 0)
    const bytes = joined(await chunksOf(body, makeRoom, readMs))
    return { bytes, [Symbol.dispose]: () => room.leave(held) }
  } catch (error) {
    room.leave(held)
    throw error
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

async function chunksOf(
  body: ReadableStream<Uint8Array> | null,
  makeRoom: (bytes: number) => void,
  readMs: number,
): Promise<Uint8Array[]> {
  if (!body) return []
  const reader = body.getReader()
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(tooSlow()), readMs)
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late.promise])
      if (done) return chunks
      size += value.length
      makeRoom(size)
      chunks.push(value)
    }
  } catch (error) {
    await reader.cancel(error).catch(() => {})
    throw error
  } finally {
    clearTimeout(timer)
  }
}

function tooLarge(): SlipwayError {
  return new SlipwayError(
    'request.too-large',
    `A delivery has ${sizeInWords(MAX_DELIVERY_BYTES)} at most: push less at once.`,
  )
}

function busy(): SlipwayError {
  const message = 'Too many large deliveries come at this moment: deliver it again in some seconds.'
  return new SlipwayError('hook.busy', message, { facts: { retryAfterS: RETRY_AFTER_S } })
}

function tooSlow(): SlipwayError {
  return new SlipwayError('request.timeout', 'The delivery did not come whole in time: deliver it again.')
}
