import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { digestSchema } from '#shared/digest.ts'
import { containerSpecSchema, runEndSchema } from '#shared/domain/container.ts'
import { healthPlanSchema } from '#shared/domain/health.ts'
import { ERROR_CODES, SlipwayError } from '#shared/errors.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { type ContainerRecord, NEW_RECORD } from '#worker/reconcile/facts.ts'

const failureSchema = z.object({
  ...{ code: z.enum(ERROR_CODES), message: z.string(), at: z.number(), retryAt: z.number().optional() },
  tries: z.int().default(1),
})

const recordSchema = z.object({
  revision: z.int().optional(),
  // Without it the run goes on all the same, which it would not without its record.
  spec: containerSpecSchema.optional().catch(undefined),
  imageDigest: digestSchema.optional(),
  run: z.int(),
  restarts: z.int(),
  attempts: z.int(),
  begunAt: z.number().optional(),
  endedAt: z.number().optional(),
  stopSentAt: z.number().optional(),
  signalSeq: z.int(),
  failure: failureSchema.optional(),
  lastEnd: runEndSchema.optional(),
  bootId: z.string().optional(),
  isRevived: z.boolean().optional(),
  health: healthPlanSchema.optional().catch(undefined),
  isOutOfMemory: z.boolean().optional(),
  limitsFailure: failureSchema.extend({ limits: z.string() }).optional(),
})

/**
 * Written before what it tells of is done, by a rename so that it is whole, and without waiting for the disk: it has to
 * outlive the agent. Of the last seconds before a power cut it may know nothing: the run of then is begun again.
 * On a full disk it is written into the place that it has: containers can be stopped there too.
 */
export async function writeRecord(folder: string, record: ContainerRecord): Promise<void> {
  const text = JSON.stringify(record)
  const path = join(folder, 'record.json')
  const part = `${path}.part`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeFile(part, text)
    await rename(part, path)
  } catch (cause) {
    const error = asKernelError(cause, `write ${path}`)
    const isFull = error instanceof SlipwayError && error.code === 'host.disk-full'
    if (!isFull || !(await overwrite(path, text))) throw error
    await rm(part, { force: true })
  }
}

/** In one write and never shorter than before, so that whoever is killed leaves the old text or the new one. */
async function overwrite(path: string, text: string): Promise<boolean> {
  try {
    await using file = await open(path, 'r+')
    const { size } = await file.stat()
    const bytes = Buffer.from(text.padEnd(size))
    const { bytesWritten } = await file.write(bytes, 0, bytes.length, 0)
    return bytesWritten === bytes.length
  } catch {
    return false
  }
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
