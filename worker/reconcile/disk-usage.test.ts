import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { layersLeft } from '#test/support/layers-left.ts'
import { usageOf } from './disk-usage.ts'
import { planPrune, prunedBy } from './plan-prune.ts'
import type { StoreFacts } from './plan-reclaim.ts'

const digest = (at: number): Digest => digestFromHex(at.toString(16).padStart(64, '0'))
const usedAt = 1
const ALL = { images: true, buildCache: true, usedBefore: 2 }

test('layers that a container’s image has are no part of what the build cache could free, whatever steps made them', () => {
  const steps = [1, 2, 3].map(at => ({ key: `step ${at}`, bytes: 10, layer: digest(at), usedAt }))
  const stores: StoreFacts = {
    ...{ totalBytes: 1e6, freeBytes: 9e5, cachedSteps: steps },
    images: [
      { digest: digest(101), layers: [digest(1)], usedAt, isHeld: true },
      { digest: digest(102), layers: [digest(1), digest(2)], usedAt, isHeld: false },
    ],
    layerBytes: new Map([1, 2, 3].map(at => [digest(at), 100])),
    spareBytes: new Map(),
  }
  const { disk } = usageOf(stores, [], 0)
  expect(disk.buildCache).toEqual({ count: 3, activeCount: 0, bytes: 130, reclaimableBytes: 130 })
  expect(disk.images).toEqual({ count: 2, activeCount: 1, bytes: 200, reclaimableBytes: 100 })
})

test('layers that nothing names count as images, and could go', () => {
  const stores: StoreFacts = {
    ...{ totalBytes: 1e6, freeBytes: 9e5, images: [], cachedSteps: [] },
    ...{ layerBytes: new Map([[digest(1), 100]]), spareBytes: new Map([[digest(1), 100]]) },
  }
  expect(usageOf(stores, [], 0).disk.images).toEqual({ count: 0, activeCount: 0, bytes: 100, reclaimableBytes: 100 })
  expect(prunedBy(stores, [], new Map())).toEqual({ images: 0, cachedSteps: 0, bytes: 100 })
})

const layer = fc.nat(5).map(digest)
const anyNamed: fc.Arbitrary<StoreFacts> = fc.record({
  ...{ totalBytes: fc.constant(1000), freeBytes: fc.nat(1000) },
  images: fc.uniqueArray(
    fc.record({
      ...{ digest: fc.integer({ min: 50, max: 90 }).map(digest), layers: fc.array(layer) },
      ...{ usedAt: fc.constant(usedAt), isHeld: fc.boolean() },
    }),
    { selector: one => one.digest },
  ),
  cachedSteps: fc.uniqueArray(
    fc.record({
      ...{ key: fc.string(), bytes: fc.nat(200), layer: fc.option(layer, { nil: undefined }) },
      usedAt: fc.constant(usedAt),
    }),
    { selector: one => one.key },
  ),
  layerBytes: fc.constant(new Map([0, 1, 2, 3, 4, 5].map(at => [digest(at), 50 * at]))),
  spareBytes: fc.array(fc.nat(4)).map(left => new Map(left.map(at => [digest(at), 20 * at]))),
})

/** What nothing names is spare as a whole. */
const anyStores = anyNamed.map(stores => {
  const named = layersLeft(stores, [])
  const unnamed = [...stores.layerBytes].filter(([layer]) => named.get(layer) === 0)
  return { ...stores, spareBytes: new Map([...stores.spareBytes, ...unnamed]) }
})

test('what is said to be free is what a prune frees', () => {
  fc.assert(
    fc.property(anyStores, stores => {
      const { images, buildCache } = usageOf(stores, [], 0).disk
      const freed = (terms: object) => {
        const plan = planPrune(stores, { ...ALL, ...terms })
        return prunedBy(stores, plan, layersLeft(stores, plan)).bytes
      }
      expect(buildCache.reclaimableBytes).toBeLessThanOrEqual(freed({ images: false }))
      expect(images.reclaimableBytes + buildCache.reclaimableBytes).toBe(freed({}))
    }),
  )
})
