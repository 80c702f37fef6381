import type { StepResult } from '#shared/domain/cached-step.ts'
import type { MadeStep, StepWork } from './build-work.ts'
import { cachedStep } from './cached-step.ts'

export interface StepName {
  key: string
  /** The key of the step before it in its stage. */
  after: string | undefined
}

/**
 * A step's result: from the cache, or made. Two that come to the same step at the same time, of one build or of two of this
 * host, do it once: the second waits for the first, and does it itself only where that failed or lacked memory.
 */
export function doneOnce(work: StepWork, { key, after }: StepName, make: () => Promise<MadeStep>): Promise<StepResult> {
  const { cache, share, signal, isCacheUsed, madeHere, steps, output } = work
  // A build without the cache does not take what another build makes just now, either.
  const name = isCacheUsed ? key : `${work.folder} ${key}`
  if (steps.isTaken(name)) output.write('step', 'the same step is under way: its result is waited for')
  const begun = output.waits()
  const doOrFind = async () => {
    begun()
    signal.throwIfAborted()
    const known = madeHere.get(key) ?? (isCacheUsed ? await cachedStep(work, key) : undefined)
    if (known) {
      output.cached()
      return known
    }
    const { result, lackedMemory = false } = await make()
    const anew = isCacheUsed ? {} : { isAnew: true }
    const lacking = lackedMemory ? { lackedMemory } : {}
    await cache.keep(key, { result, ...(after === undefined ? {} : { after }), ...anew, ...lacking })
    if (!lackedMemory) share(key)
    madeHere.set(key, result)
    return result
  }
  return steps.take(name, doOrFind, signal)
}
