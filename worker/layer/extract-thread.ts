import { parentPort } from 'node:worker_threads'
import { type Fault, toFault } from '#shared/errors.ts'
import { type Extraction, type ExtractionRequest, openExtraction } from './extraction.ts'

/**
 * Begins a tar. Its buffers go round: filled by the other side, emptied here, each in its turn. A number: so many bytes are in the
 * next buffer. `abort` ends the thread; after `finish` it waits for the next tar.
 */
export type ToThread = { request: ExtractionRequest; buffers: SharedArrayBuffer[] } | number | 'finish' | 'abort'
/** `taken`: that buffer may be filled again. */
export type FromThread = 'taken' | 'done' | { fault: Fault }

interface Work {
  request: ExtractionRequest
  parts: Buffer[]
  turn: number
  /** Opened with the first bytes: what fails then is an answer like others. */
  extraction: Extraction | undefined
}

/** The thread of `extract.ts`: takes a tar, buffer by buffer, and answers each. */
let work: Work | undefined

function answer(message: number | 'finish', work: Work): FromThread {
  try {
    work.extraction ??= openExtraction(work.request)
    if (message === 'finish') {
      work.extraction.finish()
      close()
      return 'done'
    }
    const part = work.parts[work.turn++ % work.parts.length]
    if (part) work.extraction.write(part.subarray(0, message))
    return 'taken'
  } catch (error) {
    return { fault: toFault(error) }
  }
}

/** What was sent before a fault was heard still comes: it finds no work. */
function close(): void {
  const extraction = work?.extraction
  work = undefined
  extraction?.[Symbol.dispose]()
}

parentPort?.on('message', (message: ToThread) => {
  if (message === 'abort') {
    close()
    parentPort?.close()
  } else if (typeof message === 'object') {
    const parts = message.buffers.map(buffer => Buffer.from(buffer))
    work = { request: message.request, parts, turn: 0, extraction: undefined }
  } else if (work) {
    const reply = answer(message, work)
    if (typeof reply === 'object') close()
    parentPort?.postMessage(reply)
  }
})
