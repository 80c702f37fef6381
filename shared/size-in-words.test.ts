import { expect, test } from 'vitest'
import { sizeInWords } from './size-in-words.ts'

test.each([
  [0, '0 bytes'],
  [1, '1 byte'],
  [1023, '1023 bytes'],
  [1024, '1 KiB'],
  [26 * 1024 ** 2, '26 MiB'],
  [1.5 * 1024 ** 3, '1.5 GiB'],
  [1_000_000, 'about 976.6 KiB'],
  [1024 ** 2 - 1, 'about 1 MiB'],
  [3 * 1024 ** 5, '3072 TiB'],
])('%d bytes are %s', (bytes, words) => {
  expect(sizeInWords(bytes)).toBe(words)
})
