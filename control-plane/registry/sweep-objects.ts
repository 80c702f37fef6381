import type { Ports } from '../ports.ts'
import { deleteDoomed, doomedBefore } from '../store/blobs.ts'
import { dropUpload, expiredUploads } from '../store/uploads.ts'
import { deleteStaleUpstreams } from '../store/upstreams.ts'
import { SIGNED_URL_MS } from './blob-keys.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/**
 * Ends uploads that nobody goes on with, and removes objects that nothing names once the last URL signed for them has
 * expired: a download that is under way never loses its bytes. At most `limit` of each a run.
 */
export async function sweepObjects(ports: Ports, limit: number): Promise<void> {
  const { db, clock, blobs } = ports
  const now = clock.now()
  for (const upload of await expiredUploads(db, now, limit)) {
    if (upload.writerState) await (await blobs.openWriter(upload.objectKey, upload.writerState)).abort()
    await dropUpload(db, upload, now)
  }
  // It reads the whole table, which a cron trigger pays for by the row.
  if (now % HOUR_MS < MINUTE_MS) await deleteStaleUpstreams(db, limit * 60)
  const doomed = await doomedBefore(db, now - SIGNED_URL_MS, limit)
  for (const { objectKey } of doomed) await blobs.delete(objectKey)
  if (doomed.length > 0)
    await deleteDoomed(
      db,
      doomed.map(({ objectKey }) => objectKey),
    )
}
