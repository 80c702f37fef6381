import type { Ports } from '../ports.ts'
import { sweepObjects } from '../registry/sweep-objects.ts'
import { deleteContext, expiredContexts } from '../store/contexts.ts'
import { deleteEventsUpTo, lastEventSeq } from '../store/events.ts'
import { deleteIdempotencyKeysBefore } from '../store/idempotency.ts'
import { deleteOldBuilds } from '../store/sweep.ts'
import { contextKey } from './contexts.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const EVENTS_KEPT = 10_000
const BUILDS_KEPT_MS = 30 * DAY_MS
const PER_RUN = 20

/** Removes what has had its time. Bounded work, so that it suits a cron trigger; what is left over waits for the next run. */
export async function sweep(ports: Ports): Promise<void> {
  const { db, clock, blobs } = ports
  const now = clock.now()
  await deleteIdempotencyKeysBefore(db, now - DAY_MS)
  await deleteEventsUpTo(db, (await lastEventSeq(db)) - EVENTS_KEPT)
  await deleteOldBuilds(db, now - BUILDS_KEPT_MS, PER_RUN)
  for (const { id } of await expiredContexts(db, now, PER_RUN)) {
    await blobs.delete(contextKey(id)) // Before the row: a crash in between leaves a row that comes up again.
    await deleteContext(db, id)
  }
  await sweepObjects(ports, PER_RUN)
}
