import { expect, test } from 'vitest'
import { createRetryDelays } from './retry-delays.ts'

test('each failure waits longer, up to a minute, until a look came to its end', () => {
  const retries = createRetryDelays(() => 0.5)
  expect([1, 2, 3].map(() => retries.failed('a'))).toEqual([250, 500, 1000])
  expect(retries.failed('b')).toBe(250)
  for (let count = 0; count < 2000; count++) retries.failed('a')
  expect(retries.failed('a')).toBe(60_000)
  retries.succeeded('a')
  expect(retries.failed('a')).toBe(250)
})

test('delays are spread', () => {
  expect(createRetryDelays(() => 0).failed('a')).toBeLessThan(createRetryDelays(() => 1).failed('a'))
})
