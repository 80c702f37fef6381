import { expect, test } from 'vitest'
import { chooseSeed, seeded } from '#test/support/seeded.ts'
import { isOvertaken, type TakenMove, toBuildAgain } from './push-order.ts'

const NONE = '0'.repeat(40)
const built = (before: string, after: string): TakenMove => ({ before, after, isBuilt: true })
const passedOver = (before: string, after: string): TakenMove => ({ before, after, isBuilt: false })

test.each<[string, [string, string], TakenMove[], boolean]>([
  ['the first', ['a', 'b'], [], false],
  ['the next', ['b', 'c'], [built('a', 'b')], false],
  ['a late one', ['a', 'b'], [built('b', 'c')], true],
  ['a late one of a new branch', [NONE, 'b'], [built('b', 'c')], true],
  ['a late one, two pushes behind', ['a', 'b'], [built('c', 'd'), passedOver('b', 'c')], true],
  ['a late one before a push that no filter let in', ['a', 'b'], [passedOver('b', 'c')], false],
  ['a late one before a forced push', ['a', 'b'], [built('b', 'x')], true],
  ['a late one of a branch that is gone', ['a', 'b'], [passedOver('b', NONE)], true],
  ['a forced push to the commit before', ['b', 'a'], [built('a', 'b')], false],
  ['a forced push two commits back', ['c', 'a'], [built('a', 'b'), built('b', 'c')], false],
  ['a branch made again where it ended', [NONE, 'b'], [built('a', 'b'), passedOver('b', NONE)], false],
  ['a branch made again elsewhere', [NONE, 'x'], [built('a', 'b'), passedOver('b', NONE)], false],
  ['one from another past', ['x', 'y'], [built('a', 'b'), built('b', 'c')], false],
])('%s', (_, [before, after], taken, expected) => {
  expect(isOvertaken({ before, after }, taken)).toBe(expected)
})

/** Every order of `items`. */
function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, at) => permutations(items.toSpliced(at, 1)).map(rest => [item, ...rest]))
}

/** What is built last when pushes come in this order; `isWanted` is what the hook's filter says. */
function builtLast(pushes: readonly { before: string; after: string; isWanted: boolean }[]): string | undefined {
  const taken: TakenMove[] = []
  for (const { isWanted, ...move } of pushes) {
    taken.push({ ...move, isBuilt: isWanted && !isOvertaken(move, taken) })
    const again = toBuildAgain(taken)
    if (again) taken.push(again)
  }
  return taken.findLast(({ isBuilt }) => isBuilt)?.after
}

test('of up to six pushes one after the other the newest that is wanted wins in every order of arrival', () => {
  const seed = chooseSeed()
  const random = seeded(seed)
  for (const count of [1, 2, 3, 4, 5, 6]) {
    const pushes = Array.from({ length: count }, (_, at) => {
      const isWanted = random() < 0.7
      return { before: at === 0 && random() < 0.5 ? NONE : `c${at}`, after: `c${at + 1}`, isWanted }
    })
    const newest = pushes.findLast(({ isWanted }) => isWanted)?.after
    for (const order of permutations(pushes)) {
      expect(builtLast(order), `seed ${seed}: ${order.map(({ after }) => after)}`).toBe(newest)
    }
  }
})

test.each<[string, TakenMove[], string | undefined]>([
  ['in order', [built('a', 'b'), built('b', 'c')], undefined],
  ['the gap is open', [built('c', 'd'), built('a', 'b')], undefined],
  ['the gap is closed', [built('c', 'd'), built('a', 'b'), passedOver('b', 'c')], 'd'],
  [
    'the branch ended after the newest',
    [built('c', 'd'), built('a', 'b'), passedOver('d', NONE), passedOver('b', 'c')],
    undefined,
  ],
  ['of two newest the last that came', [built('c', 'd'), built('c', 'e'), built('a', 'b'), passedOver('b', 'c')], 'e'],
  ['of another past, which came since', [built('x', 'y'), built('c', 'd'), built('a', 'b'), passedOver('b', 'c')], 'd'],
  ['a circle, of which the last one built stays', [built('a', 'b'), built('b', 'a')], undefined],
])('built again: %s', (_, taken, expected) => {
  expect(toBuildAgain(taken)?.after).toBe(expected)
})
