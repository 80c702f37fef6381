import type { StepResult } from '#shared/domain/cached-step.ts'
import type { StepWork } from './build-work.ts'
import { cachedStep } from './cached-step.ts'

/** A step's result by a second key, of less than its first one is made of: from the cache, or made. */
export async function alsoKnownAs(work: StepWork, key: string, make: () => Promise<StepResult>): Promise<StepResult> {
  const { cache, share, output, isCacheUsed } = work
  const before = isCacheUsed ? await cachedStep(work, key) : undefined
  if (before) {
    output.cached()
    return before
  }
  const result = await make()
  await cache.keep(key, { result, ...(isCacheUsed ? {} : { isAnew: true }) })
  share(key)
  return result
}
