import { type Fault, SlipwayError } from '#shared/errors.ts'
import { CONTEXT_ERRORS } from './context-writer.ts'
import { ExtractThreads, THREAD_MEMORY_MIB } from './extract-threads.ts'
import { type ExtractionRequest, openExtraction } from './extraction.ts'
import { LAYER_ERRORS } from './layer-writer.ts'
import { invalidTar } from './tar-format.ts'

const BUFFER_BYTES = 512 * 1024
const BUFFERS = 4
/** A disk that takes longer than this for all buffers is broken. */
const THREAD_TIMEOUT_MS = 5 * 60_000
/** Of the process, as its threads are: tars of all kinds are unpacked by the same ones. */
const THREADS = new ExtractThreads()

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
  const exited = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  ended.promise.catch(() => {}) // Whoever passes next learns of it.
  let passed = 0
  let taken = 0
  let isDone = false
  let nextTaken = Promise.withResolvers<void>()
  const thread = THREADS.take({
    message(message) {
      isDone = message === 'done'
      if (isDone) ended.resolve()
      else if (typeof message === 'object') ended.reject(asError(message.fault))
      taken++
      nextTaken.resolve()
      nextTaken = Promise.withResolvers()
      if (message === 'taken') onTaken(taken)
    },
    error: error => ended.reject(asThreadError(error, request.kind)),
    exit() {
      exited.resolve()
      ended.reject(new SlipwayError('internal', 'The thread that unpacks ended too early.'))
    },
  })
  thread.post({ request, buffers })
  return {
    async pass(bytes) {
      thread.post(bytes)
      passed++
      while (passed - taken >= buffers.length) await inTime(Promise.race([nextTaken.promise, ended.promise]))
      // An error must not wait for the buffers to fill.
      await Promise.race([ended.promise, Promise.resolve()])
      return buffers[passed % buffers.length] ?? new SharedArrayBuffer(0)
    },
    async finish() {
      thread.post('finish')
      await inTime(ended.promise)
    },
    async [Symbol.asyncDispose]() {
      if (isDone) return thread.giveBack()
      thread.post('abort') // So that it closes its files; one that has ended hears nothing.
      // A thread within a call of a disk that does not answer ends with that call: nobody waits for it.
      await inTime(exited.promise).catch(() => thread.terminate())
    },
  }
}

/** What a thread dies of comes as a clone; its memory is bounded, so that a tar cannot have all of the agent's. */
function asThreadError(error: unknown, kind: ExtractionRequest['kind']): unknown {
  const isTooMuch = error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'
  if (!isTooMuch) return error
  const errors = kind === 'context' ? CONTEXT_ERRORS : LAYER_ERRORS
  return invalidTar(
    errors,
    `has names and folders that take more than ${THREAD_MEMORY_MIB} MiB of memory: split it into several layers`,
  )
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
