import { parentPort, workerData } from 'node:worker_threads'
import { toFault } from '#shared/errors.ts'
import type { FromThread, ToThread } from './extract.ts'
import { type ExtractionRequest, openExtraction } from './extraction.ts'

/** The thread of `extract.ts`: takes batches of a tar, in order, and answers each. */
const request: ExtractionRequest = workerData
const extraction = openExtraction(request)

function answer(message: ToThread): FromThread {
  try {
    if (message === 'finish') extraction.finish()
    if (typeof message === 'string') return 'done'
    extraction.write(Buffer.from(message.buffer, message.byteOffset, message.byteLength))
    return message.buffer
  } catch (error) {
    return { fault: toFault(error) }
  }
}

/** Batches that were sent before an end was heard still come; closing twice would close another's file. */
let hasEnded = false

parentPort?.on('message', (message: ToThread) => {
  if (hasEnded) return
  const reply = answer(message)
  if (reply instanceof ArrayBuffer) return parentPort?.postMessage(reply, [reply])
  parentPort?.postMessage(reply)
  hasEnded = true
  extraction[Symbol.dispose]()
  parentPort?.close()
})
