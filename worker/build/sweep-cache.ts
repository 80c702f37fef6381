import { existsSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { digestHex } from '#shared/digest.ts'
import { readKept } from './step-cache.ts'

const NAME = /^[0-9a-f]{64}$/

/**
 * Removes what a crash left in the step cache's folder before `olderThan` (Unix milliseconds): blobs that no entry
 * names, and entries without their blob.
 */
export async function sweepCache(folder: string, olderThan: number): Promise<void> {
  const blobs = join(folder, 'blobs')
  const named = new Set<string>()
  if (!existsSync(blobs)) return // Before the first start.
  // Before the entries: a blob is there before its entry is.
  const found = await readdir(blobs)
  for (const key of (await readdir(folder)).filter(name => NAME.test(name))) {
    const result = (await readKept(join(folder, key)))?.result
    const isWhole = result && (!result.layer || existsSync(join(blobs, digestHex(result.layer.digest))))
    if (!isWhole) await removeOld(join(folder, key), olderThan)
    else if (result.layer) named.add(digestHex(result.layer.digest))
  }
  for (const name of found) if (!named.has(name)) await removeOld(join(blobs, name), olderThan)
}

async function removeOld(path: string, olderThan: number): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found && found.ctimeMs < olderThan) await rm(path, { force: true })
}
