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
  const left = (layer: Digest, bytes: number) => bytes - (facts.spareBytes.get(layer) ?? 0)
  return new Map([...facts.layerBytes].map(([layer, bytes]) => [layer, named.has(layer) ? left(layer, bytes) : 0]))
}
