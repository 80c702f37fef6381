import type { Digest } from '#shared/digest.ts'
import type { PrunedHost } from '#shared/protocol/prune-host.ts'
import type { ReclaimAction, StoreFacts } from './plan-reclaim.ts'

export interface PruneTerms {
  /** Those that no container has. */
  images: boolean
  buildCache: boolean
  /** What was used since (Unix milliseconds) stays. */
  usedBefore: number
  /** Of the build cache; left out: none. */
  keepBytes?: number | undefined
}

/** What goes when somebody asks for it, however much room there is. Pure. */
export function planPrune(facts: StoreFacts, terms: PruneTerms): ReclaimAction[] {
  const isOld = ({ usedAt }: { usedAt: number }) => usedAt < terms.usedBefore
  const images = terms.images ? facts.images.filter(image => !image.isHeld && isOld(image)) : []
  const removals = images.map(({ digest }) => ({ kind: 'removeImage', digest }) as const)
  if (!terms.buildCache) return removals
  const left = without(facts, removals)
  const steps = left.cachedSteps.toSorted((one, other) => one.usedAt - other.usedAt)
  const names = Map.groupBy(steps, ({ layer }) => layer)
  const ofImages = new Set(left.images.flatMap(({ layers }) => layers))
  const own = (layer: Digest | undefined) => (layer && !ofImages.has(layer) ? (facts.layerBytes.get(layer) ?? 0) : 0)
  let excess = terms.keepBytes === undefined ? Number.POSITIVE_INFINITY : cacheBytes(left) - terms.keepBytes
  const going: ReclaimAction[] = []
  for (const step of steps) {
    if (excess <= 0 || !isOld(step)) break
    excess -= step.bytes
    const others = (names.get(step.layer) ?? []).filter(other => other !== step)
    names.set(step.layer, others)
    if (others.length === 0) excess -= own(step.layer)
    going.push({ kind: 'removeCachedStep', key: step.key })
  }
  return [...removals, ...going]
}

/**
 * What such a plan took away, and with it layers that nothing named. `left`: what of the layers is there afterwards, by
 * bytes on the disk. Pure.
 */
export function prunedBy(
  facts: StoreFacts,
  plan: readonly ReclaimAction[],
  left: ReadonlyMap<Digest, number>,
): PrunedHost {
  const gone = [...facts.layerBytes].map(([layer, bytes]) => Math.max(bytes - (left.get(layer) ?? 0), 0))
  const count = (kind: ReclaimAction['kind']) => plan.filter(action => action.kind === kind).length
  return {
    images: count('removeImage'),
    cachedSteps: count('removeCachedStep'),
    bytes: bytesOfSteps(facts) - bytesOfSteps(without(facts, plan)) + gone.reduce((sum, bytes) => sum + bytes, 0),
  }
}

type Stores = Pick<StoreFacts, 'images' | 'cachedSteps' | 'layerBytes'>

function without(facts: Stores, plan: readonly ReclaimAction[]): Stores {
  const images = new Set(plan.flatMap(action => (action.kind === 'removeImage' ? [action.digest] : [])))
  const steps = new Set(plan.flatMap(action => (action.kind === 'removeCachedStep' ? [action.key] : [])))
  return {
    images: facts.images.filter(({ digest }) => !images.has(digest)),
    cachedSteps: facts.cachedSteps.filter(({ key }) => !steps.has(key)),
    layerBytes: facts.layerBytes,
  }
}

const layersOfImages = ({ images }: Stores) => new Set(images.flatMap(({ layers }) => layers))
const layersOfSteps = ({ cachedSteps }: Stores) => new Set(cachedSteps.flatMap(({ layer }) => layer ?? []))
const bytesOfLayers = ({ layerBytes }: Stores, layers: ReadonlySet<Digest>) =>
  [...layers].reduce((total, layer) => total + (layerBytes.get(layer) ?? 0), 0)
const bytesOfSteps = ({ cachedSteps }: Stores) => cachedSteps.reduce((total, { bytes }) => total + bytes, 0)

/** Without the layers that images have too. */
function cacheBytes(stores: Stores): number {
  return bytesOfSteps(stores) + bytesOfLayers(stores, layersOfSteps(stores).difference(layersOfImages(stores)))
}
