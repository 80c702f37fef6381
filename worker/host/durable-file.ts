import { open, readdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import type { z } from 'zod'
import { SlipwayError } from '#shared/errors.ts'
import { asKernelError, errnoOf } from './kernel-error.ts'

/** What write-file-atomic calls a file while it writes it: a number behind its name. */
const HALF_WRITTEN = /\.json\.\d+$/

/**
 * Small JSON files that survive a power cut: written beside, synced, then renamed over the old one; the folder is
 * synced too, so that the name is as durable as the bytes. Errors: `host.disk-full`, `host.kernel-refused`.
 */
export async function writeDurableJson(path: string, value: unknown): Promise<void> {
  try {
    await writeFileAtomic(path, `${JSON.stringify(value)}\n`, { fsync: true, mode: 0o600 })
    await syncFolder(dirname(path))
  } catch (error) {
    throw asKernelError(error, `write ${path}`)
  }
}

/**
 * Undefined when there is no such file. Throws `internal` for a file that does not hold what the schema says: somebody
 * else wrote it, and guessing would lose what it meant.
 */
export async function readDurableJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readText(path)
  if (text === undefined) return undefined
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    const message = `${path} does not hold what Slipway wrote there: move it away, and its content is fetched again.`
    throw new SlipwayError('internal', message, { cause })
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw asKernelError(error, `read ${path}`)
  }
}

/**
 * Removes what processes that were killed in `writeDurableJson` left in a folder. For its owner, before any other work;
 * a folder that is not there is no error.
 */
export async function sweepHalfWritten(folder: string): Promise<void> {
  try {
    const left = (await readdir(folder)).filter(name => HALF_WRITTEN.test(name))
    for (const name of left) await rm(join(folder, name), { force: true })
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw asKernelError(error, `clean ${folder}`)
  }
}

/** Removes a file durably; one that is not there is no error. */
export async function removeDurable(path: string): Promise<void> {
  try {
    await rm(path, { force: true })
    await syncFolder(dirname(path))
  } catch (error) {
    throw asKernelError(error, `remove ${path}`)
  }
}

/** Makes renames, new names and removals in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
