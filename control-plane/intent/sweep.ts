import { BUILD_QUEUE } from '#shared/protocol/bus.ts'
import type { Ports } from '../ports.ts'
import { sweepBuildCache } from '../registry/build-cache-bounds.ts'
import { collectSlices } from '../registry/garbage.ts'
import { sweepObjects } from '../registry/sweep-objects.ts'
import { deleteContext, expiredContexts } from '../store/contexts.ts'
import { deleteEventsUpTo, lastEventSeq } from '../store/events.ts'
import { deleteDeliveriesBefore, deletePushesBefore } from '../store/hooks.ts'
import { deleteIdempotencyKeysBefore } from '../store/idempotency.ts'
import { deleteOldBuilds } from '../store/sweep.ts'
import { endStrandedBuilds } from './build-claims.ts'
import { sweepCacheMounts } from './cache-mounts.ts'
import { tellForges } from './commit-statuses.ts'
import { contextKey } from './contexts.ts'
import { LATE_MS } from './push-places.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const EVENTS_KEPT = 10_000
/** Forges try again for hours, people for days. */
const DELIVERIES_KEPT_MS = 7 * DAY_MS
const BUILDS_KEPT_MS = 30 * DAY_MS
const PER_RUN = 20
/** Each a request to the object store. */
const OBJECTS_PER_RUN = 100
/** Of garbage collection: 2000 rows a minute, so a store of 50,000 blobs is gone through within the hour. */
const STEPS_PER_RUN = 4

/**
 * Removes what has had its time. Bounded work, so that it suits a cron trigger; what is left over waits for the next run.
 * What fails does not keep the rest from being done: the failures are thrown together at the end.
 */
export async function sweep(ports: Ports): Promise<void> {
  const parts = [
    sweepRecords,
    sweepContexts,
    sweepCacheMounts,
    sweepUploads,
    sweepBuildCache,
    sweepGarbage,
    endStrandedBuilds,
    ensureBuildQueue,
    tellForges,
  ]
  const failures: unknown[] = []
  for (const part of parts) await part(ports).catch(error => failures.push(error))
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} parts of the sweep failed`)
}

/** Where the bus lost it, or never had it; a bus that is away is none of the sweep's failures. */
export function ensureBuildQueue({ bus }: Ports): Promise<void> {
  return bus.ensureQueue(BUILD_QUEUE).catch(() => {})
}

async function sweepRecords({ db, clock }: Ports): Promise<void> {
  const now = clock.now()
  await deleteIdempotencyKeysBefore(db, now - DAY_MS)
  await deleteDeliveriesBefore(db, now - DELIVERIES_KEPT_MS)
  await deletePushesBefore(db, now - LATE_MS)
  await deleteEventsUpTo(db, (await lastEventSeq(db)) - EVENTS_KEPT)
  await deleteOldBuilds(db, now - BUILDS_KEPT_MS, PER_RUN)
}

async function sweepContexts({ db, clock, blobs }: Ports): Promise<void> {
  for (const { id } of await expiredContexts(db, clock.now(), PER_RUN)) {
    await blobs.delete(contextKey(id)) // Before the row: a crash in between leaves a row that comes up again.
    await deleteContext(db, id)
  }
}

async function sweepUploads(ports: Ports): Promise<void> {
  await sweepObjects(ports, OBJECTS_PER_RUN)
}

function sweepGarbage(ports: Ports): Promise<void> {
  return collectSlices(ports, STEPS_PER_RUN)
}
