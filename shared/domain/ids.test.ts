import { expect, test } from 'vitest'
import { ID_PATTERN, newId } from './ids.ts'

test('ids have 16 characters that are safe in names', () => {
  const ids = Array.from({ length: 1000 }, () => newId(bytes => crypto.getRandomValues(bytes)))
  expect(ids.every(id => ID_PATTERN.test(id))).toBe(true)
  expect(new Set(ids).size).toBe(1000)
})
