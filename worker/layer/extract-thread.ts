import { parentPort, workerData } from 'node:worker_threads'
import { toFault } from '#shared/errors.ts'
import type { FromThread, ThreadData, ToThread } from './extract.ts'
import { type Extraction, openExtraction } from './extraction.ts'

/** The thread of `extract.ts`: takes a tar, buffer by buffer, and answers each. */
const { request, buffers }: ThreadData = workerData
const parts = buffers.map(buffer => Buffer.from(buffer))
/** Opened with the first message: what fails then is an answer like others. */
let extraction: Extraction | undefined
let turn = 0

function answer(message: ToThread): FromThread {
  try {
    extraction ??= openExtraction(request)
    if (message === 'finish') extraction.finish()
    if (typeof message === 'string') return 'done'
    const part = parts[turn++ % parts.length]
    if (part) extraction.write(part.subarray(0, message))
    return 'taken'
  } catch (error) {
    return { fault: toFault(error) }
  }
}

/** What was sent before an end was heard still comes; closing twice would close another's file. */
let hasEnded = false

parentPort?.on('message', (message: ToThread) => {
  if (hasEnded) return
  const reply = answer(message)
  parentPort?.postMessage(reply)
  if (reply === 'taken') return
  hasEnded = true
  extraction?.[Symbol.dispose]()
  parentPort?.close()
})
