import { expect, test } from 'vitest'
import { isOvertaken, type TakenMove } from './push-order.ts'

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
