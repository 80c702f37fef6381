import type { Digest } from '#shared/digest.ts'
import { durationMs, formatDuration } from '#shared/domain/duration.ts'
import { keptBytesOf } from '#shared/domain/size.ts'
import type { BuildCacheUsage, PruneBuildCache, PrunedBuildCache } from '#shared/protocol/build-cache-usage.ts'
import type { Ports } from '../ports.ts'
import { bytesLeft, deleteStepsBeyond, deleteUnusedSteps, stepAges, stepUsage } from '../store/cached-steps.ts'
import { MAX_STEPS } from './build-cache-bounds.ts'

/** Steps removed in one statement. */
const AT_ONCE = 5000

/** What the cache takes. Reads an index of all steps, and looks whether images need their layers. */
export async function buildCacheUsage({ db, config }: Ports): Promise<BuildCacheUsage> {
  const { oldest, newest } = await stepAges(db)
  const { maxBytes, keepMs } = config.buildCache
  return {
    ...(await stepUsage(db)),
    ...(oldest === null ? {} : { oldestUseAt: new Date(oldest).toISOString() }),
    ...(newest === null ? {} : { newestUseAt: new Date(newest).toISOString() }),
    limits: { bytes: maxBytes, steps: MAX_STEPS, unusedFor: formatDuration(keepMs) },
  }
}

/** Removes what was asked for, the longest unused first. The bytes of layers stay until garbage is collected. */
export async function pruneBuildCache(
  ports: Ports,
  { unusedFor, keepBytes }: PruneBuildCache,
): Promise<PrunedBuildCache> {
  const { db, clock, config } = ports
  const before = unusedFor === undefined ? Number.MAX_SAFE_INTEGER : clock.now() - durationMs(unusedFor)
  const kept = keptBytesOf(keepBytes)
  const total = { steps: 0, bytes: 0, reclaimableBytes: 0, isComplete: false }
  const layers = new Set<Digest>()
  for (let run = 0; !total.isComplete && run < config.registrySteps; run++) {
    const gone =
      kept === undefined
        ? await deleteUnusedSteps(db, before, AT_ONCE)
        : await deleteStepsBeyond(db, kept, before, AT_ONCE)
    total.steps += gone.length
    for (const { digest } of gone) if (digest !== null) layers.add(digest)
    total.isComplete = gone.length < AT_ONCE
  }
  const digests = [...layers]
  for (let at = 0; at < digests.length; at += AT_ONCE) {
    const left = await bytesLeft(db, digests.slice(at, at + AT_ONCE))
    total.bytes += left.bytes
    total.reclaimableBytes += left.reclaimableBytes
  }
  return total
}
