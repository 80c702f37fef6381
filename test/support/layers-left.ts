import type { Digest } from '#shared/digest.ts'
import type { ReclaimAction, StoreFacts } from '#worker/reconcile/plan-reclaim.ts'

/** What of a host's layers is there once a plan was done, and the layers that nothing names were swept. */
export function layersLeft(facts: StoreFacts, plan: readonly ReclaimAction[]): Map<Digest, number> {
  const images = facts.images.filter(
    ({ digest }) => !plan.some(at => at.kind === 'removeImage' && at.digest === digest),
  )
  const steps = facts.cachedSteps.filter(
    ({ key }) => !plan.some(at => at.kind === 'removeCachedStep' && at.key === key),
  )
  const named = new Set([...images.flatMap(({ layers }) => layers), ...steps.flatMap(({ layer }) => layer ?? [])])
  return new Map([...facts.layerBytes].filter(([layer]) => named.has(layer)))
}
