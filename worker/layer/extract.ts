import { Worker } from 'node:worker_threads'
import { type Fault, SlipwayError } from '#shared/errors.ts'
import { CONTEXT_ERRORS } from './context-writer.ts'
import { type ExtractionRequest, openExtraction } from './extraction.ts'
import { LAYER_ERRORS } from './layer-writer.ts'
import { invalidTar } from './tar-format.ts'

export interface ThreadData {
  request: ExtractionRequest
  /** Go round: filled here, emptied by the thread, each in its turn. */
  buffers: SharedArrayBuffer[]
}
/** So many bytes are in the next buffer. */
export type ToThread = number | 'finish' | 'abort'
/** `taken`: that buffer may be filled again. */
export type FromThread = 'taken' | 'done' | { fault: Fault }

const BUFFER_BYTES = 512 * 1024
const BUFFERS = 4
/** A disk that takes longer than this for all buffers is broken. */
const THREAD_TIMEOUT_MS = 5 * 60_000
const THREAD_MEMORY_MIB = 512

/**
 * Writes a tar into a folder. File calls are made one by one without waiting for each other (three times as fast as
 * Node's asynchronous ones), so a thread makes them, unless all of the tar comes at once and is small. Errors: those of
 * the kind of tar (`layer.*`, `context.*`), `host.disk-full`, `host.kernel-refused`, and what the stream throws. After
 * an error the folder holds a part, which the caller removes. `onWritten` is told now and then how many bytes of the tar are
 * written already, so that what came by then can be read.
 */
export async function extract(
  request: ExtractionRequest,
  tar: AsyncIterable<Uint8Array>,
  onWritten: (bytes: number) => void = () => {},
): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const buffers = Array.from({ length: BUFFERS }, () => new SharedArrayBuffer(BUFFER_BYTES))
  let thread: Thread | undefined
  let buffer: Uint8Array = new Uint8Array(buffers[0] ?? new SharedArrayBuffer(0))
  let size = 0
  for await (const chunk of tar) {
    for (let at = 0; at < chunk.length; ) {
      if (size === buffer.length) {
        thread ??= undo.use(startThread(request, buffers, taken => onWritten(taken * BUFFER_BYTES)))
        buffer = new Uint8Array(await thread.pass(size))
        size = 0
      }
      const part = chunk.subarray(at, at + buffer.length - size)
      buffer.set(part, size)
      size += part.length
      at += part.length
    }
  }
  if (!thread) return extractHere(request, Buffer.from(buffer.buffer, 0, size))
  await thread.pass(size)
  await thread.finish()
}

function extractHere(request: ExtractionRequest, tar: Buffer): void {
  using extraction = openExtraction(request)
  extraction.write(tar)
  extraction.finish()
}

interface Thread extends AsyncDisposable {
  /** Gives the first bytes of the buffer in hand to the thread; resolves to the next, once it is free. Rejects once the thread has failed. */
  pass(bytes: number): Promise<SharedArrayBuffer>
  finish(): Promise<void>
}

function startThread(
  request: ExtractionRequest,
  buffers: SharedArrayBuffer[],
  onTaken: (buffers: number) => void,
): Thread {
  const worker = new Worker(new URL('./extract-thread.ts', import.meta.url), {
    workerData: { request, buffers } satisfies ThreadData,
    resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MIB },
    trackUnmanagedFds: false, // Node would warn of every file that openat2(2) opened; the extraction closes them.
  })
  const exited = new Promise<void>(resolve => worker.once('exit', () => resolve()))
  const ended = Promise.withResolvers<void>()
  ended.promise.catch(() => {}) // Whoever passes next learns of it.
  let passed = 0
  let taken = 0
  let nextTaken = Promise.withResolvers<void>()
  worker.on('message', (message: FromThread) => {
    if (message === 'done') ended.resolve()
    else if (message !== 'taken') ended.reject(asError(message.fault))
    taken++
    nextTaken.resolve()
    nextTaken = Promise.withResolvers()
    if (message === 'taken') onTaken(taken)
  })
  worker.on('error', error => ended.reject(asThreadError(error, request.kind)))
  worker.on('exit', () => ended.reject(new SlipwayError('internal', 'The thread that unpacks ended too early.')))
  return {
    async pass(bytes) {
      worker.postMessage(bytes satisfies ToThread)
      passed++
      while (passed - taken >= buffers.length) await inTime(Promise.race([nextTaken.promise, ended.promise]))
      // An error must not wait for the buffers to fill.
      await Promise.race([ended.promise, Promise.resolve()])
      return buffers[passed % buffers.length] ?? new SharedArrayBuffer(0)
    },
    async finish() {
      worker.postMessage('finish' satisfies ToThread)
      await inTime(ended.promise)
    },
    async [Symbol.asyncDispose]() {
      worker.postMessage('abort' satisfies ToThread) // So that it closes its files; one that has ended hears nothing.
      // A thread within a call of a disk that does not answer ends with that call: nobody waits for it.
      await inTime(exited).catch(() => void worker.terminate())
    },
  }
}

/** What a thread dies of comes as a clone; its memory is bounded, so that a tar cannot have all of the agent's. */
function asThreadError(error: unknown, kind: ExtractionRequest['kind']): unknown {
  const isTooMuch = error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'
  if (!isTooMuch) return error
  const errors = kind === 'context' ? CONTEXT_ERRORS : LAYER_ERRORS
  return invalidTar(errors, `has names and folders that take more than ${THREAD_MEMORY_MIB} MiB of memory`)
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
