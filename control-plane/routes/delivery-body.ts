import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import type { DeliveryRoom } from '../intent/delivery-room.ts'

/** GitHub sends no more. */
export const MAX_DELIVERY_BYTES = 25 * 1024 * 1024
/** What is refused is read on up to here: more than Cloudflare lets through to most. */
const MOST_READ_BYTES = 4 * MAX_DELIVERY_BYTES
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
 * announce as it comes. What is refused is read on and thrown away, for as long as another would be read: a client that writes
 * before it reads would see a broken pipe, and not our answer. Errors: `request.too-large`, `hook.busy`, `request.timeout`.
 */
export async function readDelivery(
  body: ReadableStream<Uint8Array> | null,
  announced: string | undefined,
  room: DeliveryRoom,
  readMs = READ_MS,
): Promise<DeliveryBody> {
  const place = new Place(room)
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    place.growTo(/^\d{1,15}$/.test(announced ?? '') ? Number(announced) : 0)
    const isWhole = await readWhile(body, readMs, chunk => {
      size += chunk.length
      place.growTo(size)
      if (!place.refusal) chunks.push(chunk)
      else chunks.length = 0
      return size <= MOST_READ_BYTES
    })
    if (place.refusal) throw place.refusal
    if (!isWhole) throw tooSlow()
    return { bytes: joined(chunks), [Symbol.dispose]: () => place.leave() }
  } catch (error) {
    place.leave()
    throw error
  }
}

/** What one delivery has of the room. */
class Place {
  /** Why it gets none. */
  refusal: SlipwayError | undefined
  readonly #room: DeliveryRoom
  #held = 0

  constructor(room: DeliveryRoom) {
    this.#room = room
  }

  growTo(bytes: number): void {
    const more = bytes - SMALL_BYTES - this.#held
    if (this.refusal || more <= 0) return
    if (bytes > MAX_DELIVERY_BYTES) this.refusal = tooLarge()
    else if (this.#room.take(more)) this.#held += more
    else this.refusal = busy()
    if (this.refusal) this.leave()
  }

  leave(): void {
    this.#room.leave(this.#held)
    this.#held = 0
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

/** False: it did not come to its end in time, or `take` wants no more. */
async function readWhile(
  body: ReadableStream<Uint8Array> | null,
  readMs: number,
  take: (chunk: Uint8Array) => boolean,
): Promise<boolean> {
  if (!body) return true
  const reader = body.getReader()
  const late = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), readMs)
  try {
    for (;;) {
      const next = await Promise.race([reader.read(), late.promise])
      if (next?.done) return true
      if (next && take(next.value)) continue
      reader.cancel().catch(() => {}) // Not waited for: on Node it comes after the chunk that is asked for.
      return false
    }
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
