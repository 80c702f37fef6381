import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto'
import { S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { SlipwayError } from '#shared/errors.ts'

export interface S3Options {
  /** `https://<account>.r2.cloudflarestorage.com`, `https://s3.eu-central-1.amazonaws.com`, … */
  endpoint: string
  region: string
  bucket: string
  accessKeyId: string
  secretAccessKey: string
  /** How long one attempt may take; a call makes up to three. 30 s unless told: a part of 8 MiB at 2.2 Mbit/s. */
  attemptMs?: number
}

export interface S3Calls {
  client: S3Client
  /** Runs one call within its deadline, times `patience`; throws `blob.store-failed` for anything but success. */
  run<T>(work: (terms: CallTerms) => Promise<T>, patience?: number): Promise<T>
  /** The same, with undefined for a 404. */
  find<T>(work: (terms: CallTerms) => Promise<T>, patience?: number): Promise<T | undefined>
  /** A body that fails with `blob.store-failed` when it stalls for an attempt's time, or ends before `length` bytes. */
  watched(body: ReadableStream<Uint8Array>, length: number): ReadableStream<Uint8Array>
}

export interface CallTerms {
  abortSignal: AbortSignal
  requestTimeout: number
}

const ATTEMPTS = 3
const ATTEMPT_MS = 30_000
/** What the SDK waits at most between attempts, all together. */
const BACK_OFF_MS = 1_500

/** A client whose every call ends. The SDK itself sets no limit: a store that accepts and then says nothing would hold a request for ever. */
export function s3Calls(options: S3Options): S3Calls {
  const attemptMs = options.attemptMs ?? ATTEMPT_MS
  const client = new S3Client({
    endpoint: options.endpoint,
    region: options.region,
    forcePathStyle: true,
    maxAttempts: ATTEMPTS,
    credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    // Stores other than S3 itself refuse the checksums that the SDK would add.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Options for whichever handler the runtime has: Node's http, or fetch on workerd.
    requestHandler: { requestTimeout: attemptMs, connectionTimeout: attemptMs, throwOnRequestTimeout: true },
    sha256: NativeSha256,
  })
  client.middlewareStack.add(retryUnanswered, { step: 'finalizeRequest', priority: 'low', name: 'retryUnanswered' })
  const run: S3Calls['run'] = (work, patience = 1) => {
    const requestTimeout = attemptMs * patience
    return within(requestTimeout * ATTEMPTS + BACK_OFF_MS, abortSignal => work({ abortSignal, requestTimeout }))
  }
  return {
    client,
    run,
    find: (work, patience) => run(terms => work(terms).catch(undefinedIf404), patience),
    watched: (body, length) => watched(body, length, attemptMs),
  }
}

/** The SDK knows Node's and browsers' words for a broken connection, and tries again then; not workerd's. */
function retryUnanswered<Args, Output>(next: (args: Args) => Promise<Output>): (args: Args) => Promise<Output> {
  return async args => {
    try {
      return await next(args)
    } catch (error) {
      const isUnanswered = error instanceof Error && !('$metadata' in error) && error.name !== 'AbortError'
      throw isUnanswered ? Object.assign(error, { $retryable: {} }) : error
    }
  }
}

/** The SDK's own for workerd hashes whole parts in JavaScript, at a tenth of this speed. */
class NativeSha256 {
  readonly #hash: Hash | Hmac

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', bytesOf(secret))
  }

  update(data: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(bytesOf(data))
  }

  async digest(): Promise<Uint8Array> {
    return new Uint8Array(this.#hash.digest())
  }

  reset(): void {
    throw new Error('A hash is used once.')
  }
}

function bytesOf(data: string | ArrayBuffer | ArrayBufferView): Uint8Array {
  if (typeof data === 'string') return new TextEncoder().encode(data)
  if (data instanceof ArrayBuffer) return new Uint8Array(data)
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

async function within<T>(limitMs: number, work: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const { promise: tooLate, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    controller.abort()
    reject(new Error(`no answer within ${limitMs} ms`))
  }, limitMs)
  try {
    return await Promise.race([work(controller.signal), tooLate])
  } catch (error) {
    throw s3Failure(error)
  } finally {
    clearTimeout(timer)
  }
}

function watched(body: ReadableStream<Uint8Array>, length: number, stallMs: number): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let left = length
  return new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        try {
          const { done, value } = await within(stallMs, () => reader.read())
          if (done && left > 0) throw s3Failure(new Error(`the body ended ${left} bytes too early`))
          if (done) return controller.close()
          left -= value.length
          controller.enqueue(value)
        } catch (error) {
          reader.cancel().catch(() => {}) // It is broken already.
          throw error
        }
      },
      cancel: reason => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
}

export const statusOf = (error: unknown) =>
  error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined

function undefinedIf404(error: unknown): undefined {
  // Without its bucket nothing is merely missing.
  if (statusOf(error) !== 404 || (error instanceof Error && error.name === 'NoSuchBucket')) throw error
}

function s3Failure(cause: unknown): SlipwayError {
  if (cause instanceof SlipwayError) return cause
  const status = statusOf(cause)
  const told = status === undefined ? '' : ` (HTTP ${status})`
  const message = `The object store did not do as it was asked${told}: see its endpoint, bucket and keys.`
  return new SlipwayError('blob.store-failed', message, { cause })
}
