import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ERROR_CODES } from '#shared/errors.ts'
import { type ContainerRecord, NEW_RECORD } from '#worker/reconcile/facts.ts'

const recordSchema = z.object({
  run: z.int(),
  restarts: z.int(),
  attempts: z.int(),
  stopSentAt: z.number().optional(),
  signalSeq: z.int(),
  failure: z
    .object({ code: z.enum(ERROR_CODES), message: z.string(), at: z.number(), retryAt: z.number().optional() })
    .optional(),
})

/**
 * Written before what it tells of is done, by a rename so that it is whole, and without waiting for the disk: it has to
 * outlive the agent, not the machine, since a power cut ends the run that it tells of.
 */
export async function writeRecord(folder: string, record: ContainerRecord): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const part = join(folder, 'record.json.part')
  await writeFile(part, JSON.stringify(record))
  await rename(part, join(folder, 'record.json'))
}

/** One that is not there or cannot be read is a new one: the run that follows writes it again. */
export async function readRecord(folder: string): Promise<ContainerRecord> {
  const text = await readFile(join(folder, 'record.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return NEW_RECORD
  try {
    return recordSchema.parse(JSON.parse(text))
  } catch {
    return NEW_RECORD
  }
}
