import { Worker } from 'node:worker_threads'
import { type Fault, SlipwayError } from '#shared/errors.ts'
import { type ExtractionRequest, openExtraction } from './extraction.ts'

export type ToThread = Uint8Array<ArrayBuffer> | 'finish' | 'abort'
/** A buffer comes back when its bytes were taken. */
export type FromThread = ArrayBuffer | 'done' | { fault: Fault }

const BATCH_BYTES = 512 * 1024
const MAX_BATCHES_WAITING = 4
/** A disk that takes longer than this for four batches is broken. */
const THREAD_TIMEOUT_MS = 5 * 60_000
const THREAD_MEMORY_MIB = 512

/**
 * Writes a tar into a folder. File calls are made one by one without waiting for each other (three times as fast as
 * Node's asynchronous ones), so a thread makes them, unless all of the tar comes at once and is small. Errors: those of
 * the kind of tar (`layer.*`, `context.*`), `host.disk-full`, `host.kernel-refused`, and what the stream throws. After
 * an error the folder holds a part, which the caller removes.
 */
export async function extract(request: ExtractionRequest, tar: AsyncIterable<Uint8Array>): Promise<void> {
  const spare: ArrayBuffer[] = []
  const batches = batched(tar, spare)
  const first = await batches.next()
  if (!first.done && !first.value.isLast) return extractInThread(request, first.value.bytes, batches, spare)
  using extraction = openExtraction(request)
  if (!first.done) extraction.write(Buffer.from(first.value.bytes))
  extraction.finish()
}

interface Batch {
  bytes: Uint8Array<ArrayBuffer>
  isLast: boolean
}

/**
 * Copies of the chunks in batches of the same size, which may be handed to a thread for good. Buffers that came back are
 * filled again: new ones would cost as much as all else together, in page faults and collections.
 */
async function* batched(chunks: AsyncIterable<Uint8Array>, spare: ArrayBuffer[]): AsyncGenerator<Batch, undefined> {
  const next = () => new Uint8Array(spare.pop() ?? new ArrayBuffer(BATCH_BYTES))
  let bytes = next()
  let size = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + bytes.length - size)
      bytes.set(part, size)
      size += part.length
      at += part.length
      if (size < bytes.length) continue
      yield { bytes, isLast: false }
      bytes = next()
      size = 0
    }
  }
  yield { bytes: bytes.subarray(0, size), isLast: true }
  return undefined
}

async function extractInThread(
  request: ExtractionRequest,
  first: Uint8Array<ArrayBuffer>,
  rest: AsyncIterable<Batch>,
  spare: ArrayBuffer[],
): Promise<void> {
  await using thread = startThread(request, spare)
  await thread.send(first)
  for await (const { bytes } of rest) await thread.send(bytes)
  await thread.finish()
}

interface Thread extends AsyncDisposable {
  /** Resolves as soon as few enough batches wait. Rejects once the thread has failed. */
  send(bytes: Uint8Array<ArrayBuffer>): Promise<void>
  finish(): Promise<void>
}

/** Buffers that the thread has done with go to `spare`. */
function startThread(request: ExtractionRequest, spare: ArrayBuffer[]): Thread {
  const worker = new Worker(new URL('./extract-thread.ts', import.meta.url), {
    workerData: request,
    resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MIB },
    trackUnmanagedFds: false, // Node would warn of every file that openat2(2) opened; the extraction closes them.
  })
  const exited = new Promise<void>(resolve => worker.once('exit', () => resolve()))
  const ended = Promise.withResolvers<void>()
  ended.promise.catch(() => {}) // Whoever sends next learns of it.
  let waiting = 0
  let taken = Promise.withResolvers<void>()
  worker.on('message', (message: FromThread) => {
    if (message === 'done') ended.resolve()
    else if (message instanceof ArrayBuffer) spare.push(message)
    else ended.reject(asError(message.fault))
    waiting--
    taken.resolve()
    taken = Promise.withResolvers()
  })
  worker.on('error', error => ended.reject(error))
  worker.on('exit', () => ended.reject(new SlipwayError('internal', 'The thread that unpacks ended too early.')))
  return {
    async send(bytes) {
      worker.postMessage(bytes, [bytes.buffer])
      waiting++
      while (waiting >= MAX_BATCHES_WAITING) await inTime(Promise.race([taken.promise, ended.promise]))
      // An error must not wait for the queue to fill.
      await Promise.race([ended.promise, Promise.resolve()])
    },
    async finish() {
      worker.postMessage('finish' satisfies ToThread)
      await inTime(ended.promise)
    },
    async [Symbol.asyncDispose]() {
      worker.postMessage('abort' satisfies ToThread) // So that it closes its files; one that has ended hears nothing.
      await inTime(exited).catch(() => worker.terminate())
    },
  }
}

function asError({ code, message, facts }: Fault): SlipwayError {
  return new SlipwayError(code, message, { facts: facts ?? {} })
}

async function inTime(work: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>()
  const why = `The disk took longer than ${THREAD_TIMEOUT_MS / 60_000} minutes to take files: look at its health.`
  const timer = setTimeout(() => late.reject(new SlipwayError('host.kernel-refused', why)), THREAD_TIMEOUT_MS)
  try {
    await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
