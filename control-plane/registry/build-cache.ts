import type { Digest } from '#shared/digest.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { FOLLOWING_STEPS, type FoundSteps, type ShareStep } from '#shared/protocol/build-cache.ts'
import type { Ports } from '../ports.ts'
import { findBlob, touchBlobs } from '../store/blobs.ts'
import { type FoundStep, findSteps, insertStep, touchSteps } from '../store/cached-steps.ts'
import { touchEveryMs } from './grace.ts'

/** Of the steps that were built on the same one: enough for a few branches, and chains still come whole. */
const SIBLINGS = 8
/** What a step's use is known to. */
const USED_EVERY_MS = 60 * 60 * 1000

/**
 * The step of a key and steps that were built on it, nearest first: one statement, unless something was not touched for
 * a while. All that is told counts as used, and its layers stay for the grace period. None where the cache is off.
 */
export async function foundSteps(ports: Ports, key: string): Promise<FoundSteps> {
  if (ports.config.buildCache.maxBytes === 0) return { steps: [] }
  const asked = { key, limit: FOLLOWING_STEPS + 1, siblings: SIBLINGS }
  const now = ports.clock.now()
  const since = now - touchEveryMs(ports)
  const isStaying = ({ touchedAt }: FoundStep) => touchedAt === null || touchedAt >= since
  let found = await findSteps(ports.db, asked)
  await touchUsed(ports, found, now)
  if (!found.every(isStaying)) {
    const digests = found.flatMap(({ digest }) => (digest === null ? [] : [digest]))
    await touchBlobs(ports.db, digests, now, since)
    // What was not touched may have gone meanwhile, and what had not been told of is not touched.
    found = (await findSteps(ports.db, asked)).filter(isStaying)
  }
  return { steps: found.map(({ key, result }) => ({ key, result })) }
}

async function touchUsed({ db }: Ports, found: readonly FoundStep[], now: number): Promise<void> {
  const since = now - USED_EVERY_MS
  const keys = found.filter(({ usedAt }) => usedAt < since).map(({ key }) => key)
  if (keys.length > 0) await touchSteps(db, keys, now, since)
}

/**
 * Records what a step gave on a host; a repeat counts as a use, and the first word stays unless the step was to be done
 * anew. Does nothing where the cache is off. Errors: `blob.not-found` when its layer is not in the store,
 * `blob.size-mismatch` when it is there with another size.
 */
export async function shareStep(ports: Ports, hostId: HostId, key: string, { after, result, isAnew }: ShareStep) {
  if (ports.config.buildCache.maxBytes === 0) return
  const { digest = null, size = 0 } = result.layer ?? {}
  const createdAt = ports.clock.now()
  const row = { key, result, digest, size, after: after ?? null, createdAt, hostId }
  if (await insertStep(ports.db, row, isAnew)) return
  throw await refusalOf(ports, digest, size)
}

async function refusalOf({ db }: Ports, digest: Digest | null, size: number): Promise<SlipwayError> {
  const blob = digest === null ? undefined : await findBlob(db, digest)
  if (!blob || blob.size === size) {
    return new SlipwayError('blob.not-found', `The store has no blob ${digest}: upload the layer first.`)
  }
  return new SlipwayError('blob.size-mismatch', `Blob ${digest} has ${blob.size} bytes, not ${size}.`)
}
