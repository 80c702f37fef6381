import { newId, type UploadId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { deleteDoomed, doomedBefore } from '../store/blobs.ts'
import { claimExpired, dropUpload, expiredUploads, type UploadRow } from '../store/uploads.ts'
import { deleteStaleUpstreams } from '../store/upstreams.ts'
import { SIGNED_URL_MS, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { CLAIM_STALE_MS } from './writing.ts'

const AT_ONCE = 8
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

export interface SweptObjects {
  uploads: UploadRow[]
  /** How many keys were deleted. */
  objects: number
}

/**
 * Ends uploads that nobody goes on with, and removes objects that nothing names once the last URL signed for them has
 * expired: a download that is under way never loses its bytes. At most `limit` of each a run. What fails is kept for
 * later runs and does not stop the others; the first failure is thrown at the end.
 */
export async function sweepObjects(ports: Ports, limit: number): Promise<SweptObjects> {
  const now = ports.clock.now()
  const expired = await expiredUploads(ports.db, now, now - CLAIM_STALE_MS, limit)
  const ended = await settle(expired, upload => endExpired(ports, upload))
  // It reads the whole table, which a cron trigger pays for by the row.
  if (now % HOUR_MS < MINUTE_MS) await deleteStaleUpstreams(ports.db, limit * 60)
  const doomed = await doomedBefore(ports.db, now - SIGNED_URL_MS, limit)
  const deleted = await settle(doomed, ({ objectKey }) => ports.blobs.delete(objectKey))
  if (deleted.done.length > 0) {
    await deleteDoomed(
      ports.db,
      deleted.done.map(({ objectKey }) => objectKey),
    )
  }
  for (const failure of [...ended.failures, ...deleted.failures]) throw failure
  return { uploads: ended.done, objects: deleted.done.length }
}

/**
 * Takes the upload from whoever might still come, removes its bytes, then its row. What a dead store makes impossible
 * for a day more is given up: the bucket's rule for incomplete uploads has it then.
 */
async function endExpired(ports: Ports, upload: UploadRow): Promise<void> {
  const now = ports.clock.now()
  const row = await claimExpired(ports.db, upload.id, newId<UploadId>(ports.random), now, now - CLAIM_STALE_MS)
  if (!row) return
  try {
    if (row.partsId !== null) await ports.blobs.parts.drop(row.objectKey, row.partsId)
    await abortWriter(ports, row)
  } catch (error) {
    if (now < row.expiresAt + UPLOAD_LIFE_MS) throw error
  }
  await dropUpload(ports.db, row, now)
}

/** An object that is whole has no writer any more: its key is doomed with the row. Nor has one that was aborted before. */
async function abortWriter(ports: Ports, { objectKey, writerState }: UploadRow): Promise<void> {
  if (!writerState || (await ports.blobs.head(objectKey))) return
  try {
    await (await ports.blobs.openWriter(objectKey, writerState)).abort()
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== 'blob.not-found') throw error
  }
}

async function settle<T>(items: readonly T[], work: (item: T) => Promise<void>) {
  const done: T[] = []
  const failures: unknown[] = []
  for (let at = 0; at < items.length; at += AT_ONCE) {
    const some = items.slice(at, at + AT_ONCE)
    const results = await Promise.allSettled(some.map(work))
    results.forEach((result, index) => {
      if (result.status === 'rejected') failures.push(result.reason)
      else done.push(...some.slice(index, index + 1))
    })
  }
  return { done, failures }
}
