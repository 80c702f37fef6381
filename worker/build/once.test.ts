import { expect, test } from 'vitest'
import { once } from './once.ts'

test('one key is worked on once, also while the work is under way', async () => {
  const asked: string[] = []
  const resolve = once(async (key: string) => asked.push(key))
  expect(await Promise.all([resolve('a'), resolve('a'), resolve('b')])).toEqual([1, 1, 2])
  await resolve('a')
  expect(asked).toEqual(['a', 'b'])
})
