import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { type EndedContainers, planReclaim, type ReclaimAction, type StoreFacts } from './plan-reclaim.ts'

const digest = (at: number): Digest => digestFromHex(at.toString(16).padStart(64, '0'))
const NONE: EndedContainers = { expired: [], leavingBytes: 0 }
const MARKS = { high: 0.8, low: 0.6, usedBefore: 1000 }

/** A disk of 1000 bytes. */
const facts = (changes: Partial<StoreFacts>): StoreFacts => ({
  ...{ totalBytes: 1000, freeBytes: 100, images: [], cachedSteps: [] },
  layerBytes: new Map([1, 2, 3, 4].map(at => [digest(at), 100])),
  spareBytes: new Map(),
  ...changes,
})
const image = (at: number, layers: number[], usedAt: number, isHeld = false) => ({
  ...{ digest: digest(100 + at), layers: layers.map(digest), usedAt, isHeld },
})
const removed = (actions: ReclaimAction[]) =>
  actions.map(action => {
    if (action.kind === 'removeImage') return action.digest
    return action.kind === 'removeCachedStep' ? action.key : action.id
  })

describe('room is made', () => {
  test('below the high mark nothing is', () => {
    expect(planReclaim(facts({ freeBytes: 200, images: [image(1, [1], 1)] }), NONE, MARKS)).toEqual([])
  })

  test('the longest unused first, until the low mark', () => {
    const images = [image(1, [1], 30), image(2, [2], 10), image(3, [3], 20), image(4, [4], 40)]
    expect(removed(planReclaim(facts({ images }), NONE, MARKS))).toEqual([digest(102), digest(103), digest(101)])
  })

  test('images before the build cache', () => {
    const cachedSteps = [{ key: 'step', bytes: 300, layer: undefined, usedAt: 1 }]
    const plan = planReclaim(facts({ images: [image(1, [1], 900)], cachedSteps }), NONE, MARKS)
    expect(removed(plan)).toEqual([digest(101), 'step'])
  })

  test('what a container has and what was just used stays', () => {
    const images = [image(1, [1], 1, true), image(2, [2], 1000), image(3, [3], 1)]
    expect(removed(planReclaim(facts({ images }), NONE, MARKS))).toEqual([digest(103)])
  })

  test('a layer counts once its last name goes', () => {
    const images = [image(1, [1, 2], 1), image(2, [1, 3], 2), image(3, [4], 3)]
    const plan = planReclaim(facts({ freeBytes: 190, images, layerBytes: new Map([[digest(1), 300]]) }), NONE, MARKS)
    expect(removed(plan)).toEqual([digest(101), digest(102)])
  })
})

describe('containers that have ended', () => {
  const ended = (name: string, finishedAt: number) => ({ id: name as ContainerId, finishedAt, bytes: 150 })
  const expired = [ended('late', 30), ended('early', 10), ended('middle', 20)]

  test('go last, the earliest end first, until the low mark', () => {
    const given = facts({ images: [image(1, [1], 900)] })
    expect(removed(planReclaim(given, { expired, leavingBytes: 0 }, MARKS))).toEqual([digest(101), 'early', 'middle'])
  })

  test('stay while others that are leaving make the room', () => {
    expect(removed(planReclaim(facts({}), { expired, leavingBytes: 300 }, MARKS))).toEqual([])
    expect(removed(planReclaim(facts({}), { expired, leavingBytes: 290 }, MARKS))).toEqual(['early'])
    expect(planReclaim(facts({ freeBytes: 200 }), { expired, leavingBytes: 0 }, MARKS)).toEqual([])
  })
})

const layer = fc.nat(5).map(digest)
const anyFacts: fc.Arbitrary<StoreFacts> = fc.record({
  totalBytes: fc.constant(1000),
  freeBytes: fc.nat(1000),
  images: fc.uniqueArray(
    fc.record({ digest: fc.nat(50).map(digest), layers: fc.array(layer), usedAt: fc.nat(2000), isHeld: fc.boolean() }),
    { selector: one => one.digest },
  ),
  cachedSteps: fc.uniqueArray(
    fc.record({
      key: fc.string(),
      bytes: fc.nat(200),
      layer: fc.option(layer, { nil: undefined }),
      usedAt: fc.nat(2000),
    }),
    { selector: one => one.key },
  ),
  layerBytes: fc.constant(new Map([0, 1, 2, 3, 4, 5].map(at => [digest(at), 50 * at]))),
  spareBytes: fc.constant(new Map()),
})

test('never what is held or was just used; each once; no more than what the low mark asks', () => {
  fc.assert(
    fc.property(anyFacts, given => {
      const plan = planReclaim(given, NONE, MARKS)
      expect(new Set(removed(plan)).size).toBe(plan.length)
      const gone = new Set(removed(plan))
      for (const one of given.images.filter(({ isHeld, usedAt }) => isHeld || usedAt >= MARKS.usedBefore)) {
        expect(gone.has(one.digest)).toBe(false)
      }
      for (const one of given.cachedSteps) if (one.usedAt >= MARKS.usedBefore) expect(gone.has(one.key)).toBe(false)
      // Without its last action the plan would not reach the mark.
      if (plan.length > 0) expect(takenAfter(given, plan.slice(0, -1))).toBeGreaterThan(MARKS.low * given.totalBytes)
    }),
  )
})

/** By what is left, not by what goes. */
function takenAfter(given: StoreFacts, plan: ReclaimAction[]): number {
  const gone = new Set(removed(plan))
  const namesIn = (isLeft: (key: string) => boolean) =>
    new Set([
      ...given.images.filter(one => isLeft(one.digest)).flatMap(one => one.layers),
      ...given.cachedSteps.filter(one => isLeft(one.key)).flatMap(one => one.layer ?? []),
    ])
  const left = namesIn(key => !gone.has(key))
  const unnamed = [...namesIn(() => true)].filter(one => !left.has(one))
  const layers = unnamed.reduce((sum, one) => sum + (given.layerBytes.get(one) ?? 0), 0)
  const blobs = given.cachedSteps.filter(one => gone.has(one.key)).reduce((sum, one) => sum + one.bytes, 0)
  return given.totalBytes - given.freeBytes - layers - blobs
}
