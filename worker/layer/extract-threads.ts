import { Worker } from 'node:worker_threads'
import type { FromThread, ToThread } from './extract-thread.ts'

export const THREAD_MEMORY_MIB = 512
/** The layers of an image come one behind the other; a machine at rest gets the memory back. */
const IDLE_MS = 10_000
const MAX_IDLE = 2

/** Where messages of a thread go while somebody has it. */
export interface ThreadListener {
  message(message: FromThread): void
  /** It died of something that it could not say; no message follows. */
  error(error: unknown): void
  exit(): void
}

/** A thread of `extract-thread.ts` for one tar at a time. */
export interface ExtractThread {
  post(message: ToThread): void
  /** To be used again: only after it has said `done`. */
  giveBack(): void
  terminate(): void
}

/**
 * The threads of this process that unpack tars. One takes 0.1 s of processor time to begin, and twice as long over its first
 * files as over later ones, so that those that are through are kept for a while. They hold nothing between two tars, and
 * none keeps the process alive.
 */
export class ExtractThreads {
  readonly #idle: PooledThread[] = []

  take(listener: ThreadListener): ExtractThread {
    const thread = this.#idle.pop() ?? new PooledThread()
    thread.use(listener, () => this.#keep(thread))
    return thread
  }

  #keep(thread: PooledThread): void {
    if (this.#idle.length >= MAX_IDLE) {
      thread.end()
      return
    }
    this.#idle.push(thread)
    thread.rest(IDLE_MS, () => {
      const index = this.#idle.indexOf(thread)
      if (index >= 0) this.#idle.splice(index, 1)
    })
  }
}

class PooledThread implements ExtractThread {
  readonly #worker = new Worker(new URL('./extract-thread.ts', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MIB },
    trackUnmanagedFds: false, // Node would warn of every file that openat2(2) opened; the extraction closes them.
  })
  #listener: ThreadListener | undefined
  #onReturn: () => void = () => {}
  #onGone: () => void = () => {}
  #timer: NodeJS.Timeout | undefined

  constructor() {
    this.#worker.on('message', (message: FromThread) => this.#listener?.message(message))
    this.#worker.on('error', error => this.#listener?.error(error))
    this.#worker.on('exit', () => {
      clearTimeout(this.#timer)
      this.#listener?.exit()
      this.#onGone()
    })
  }

  use(listener: ThreadListener, onReturn: () => void): void {
    clearTimeout(this.#timer)
    this.#onGone = () => {}
    this.#worker.ref()
    this.#listener = listener
    this.#onReturn = onReturn
  }

  post(message: ToThread): void {
    this.#worker.postMessage(message)
  }

  giveBack(): void {
    this.#listener = undefined
    this.#onReturn()
  }

  rest(idleMs: number, onGone: () => void): void {
    this.#onGone = onGone
    this.#worker.unref()
    this.#timer = setTimeout(() => {
      this.#onGone()
      this.end()
    }, idleMs).unref()
  }

  end(): void {
    this.post('abort')
  }

  terminate(): void {
    void this.#worker.terminate()
  }
}
