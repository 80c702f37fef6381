import { expect, test } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { layersLeft } from '#test/support/layers-left.ts'
import { type PruneTerms, planPrune, prunedBy } from './plan-prune.ts'
import type { StoreFacts } from './plan-reclaim.ts'

const digest = (at: number): Digest => digestFromHex(at.toString(16).padStart(64, '0'))
const image = (at: number, layers: number[], usedAt: number, isHeld = false) => ({
  ...{ digest: digest(100 + at), layers: layers.map(digest), usedAt, isHeld },
})
const step = (key: string, usedAt: number, layer?: number) => ({
  ...{ key, bytes: 10, layer: layer === undefined ? undefined : digest(layer), usedAt },
})
/** Layers of 100 bytes each; layer 1 is of an image that a container has, layer 2 of one that none has, and of a step. */
const FACTS: StoreFacts = {
  ...{ totalBytes: 1e6, freeBytes: 9e5 },
  images: [image(1, [1], 1, true), image(2, [1, 2], 20), image(3, [3], 900)],
  cachedSteps: [
    step('of image', 30, 2),
    step('twice', 10, 4),
    step('again', 40, 4),
    step('files', 20),
    step('new', 900, 5),
  ],
  layerBytes: new Map([1, 2, 3, 4, 5].map(at => [digest(at), 100])),
  spareBytes: new Map(),
}
const ALL: PruneTerms = { images: true, buildCache: true, usedBefore: 1000 }

/** What goes, by the images' layers and the steps' keys, and its bytes. */
function pruned(terms: Partial<PruneTerms>) {
  const plan = planPrune(FACTS, { ...ALL, ...terms })
  const names = plan.map(action => {
    if (action.kind === 'removeCachedStep') return action.key
    return action.kind === 'removeImage' ? FACTS.images.findIndex(one => one.digest === action.digest) + 1 : action.id
  })
  return { names, ...prunedBy(FACTS, plan, layersLeft(FACTS, plan)) }
}

test('images that no container has go, and of their layers what nothing else needs', () => {
  expect(pruned({ buildCache: false })).toEqual({ names: [2, 3], images: 2, cachedSteps: 0, bytes: 100 })
  expect(pruned({ buildCache: false, usedBefore: 100 })).toEqual({ names: [2], images: 1, cachedSteps: 0, bytes: 0 })
})

test('the build cache goes, the longest unused first; a layer that an image has stays', () => {
  const names = ['twice', 'files', 'of image', 'again', 'new']
  expect(pruned({ images: false })).toEqual({ names, images: 0, cachedSteps: 5, bytes: 250 })
  expect(pruned({ images: false, usedBefore: 40 })).toMatchObject({ names: names.slice(0, 3), bytes: 30 })
})

test('both: a layer of both goes with the last that has it', () => {
  expect(pruned({})).toMatchObject({ images: 2, cachedSteps: 5, bytes: 450 })
})

test('so many bytes of the build cache stay, of those used last', () => {
  // 50 of steps, 100 each of layers 4 and 5: layer 2 is an image's.
  expect(pruned({ images: false, keepBytes: 250 }).names).toEqual([])
  expect(pruned({ images: false, keepBytes: 249 }).names).toEqual(['twice'])
  expect(pruned({ images: false, keepBytes: 219 }).names).toEqual(['twice', 'files', 'of image', 'again'])
  expect(pruned({ images: false, keepBytes: 219, usedBefore: 30 }).names).toEqual(['twice', 'files'])
  // Without its image layer 2 is the cache's own, and goes with its step.
  expect(pruned({ keepBytes: 210 }).names).toEqual([2, 3, 'twice', 'files', 'of image', 'again'])
  expect(pruned({ keepBytes: 220 }).names).toEqual([2, 3, 'twice', 'files', 'of image'])
})
