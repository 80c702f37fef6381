import { randomBytes } from 'node:crypto'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { compress } from './compress.ts'

const MEBIBYTE = 1024 * 1024
const text = (bytes: number) => Buffer.alloc(bytes, 'some words that come again and again, ')

async function zipped(
  bytes: Buffer,
  chunkBytes: number,
  compression: 'gzip' | 'zstd',
  level?: number,
): Promise<Buffer> {
  // One buffer for all chunks, as decompressors have it.
  const shared = Buffer.alloc(chunkBytes)
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      yield shared.subarray(0, bytes.copy(shared, 0, at, at + chunkBytes))
    }
  }
  return Buffer.concat(await Array.fromAsync(compress(chunks(), compression, level)))
}

const SIZES = [0, 1, 40_000, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 7 * MEBIBYTE + 123]

test.each(
  SIZES.flatMap(size => [
    { size, level: 4 },
    { size, level: undefined },
  ]),
)('$size bytes at level $level come back, however they are cut', async ({ size, level }) => {
  const bytes = Buffer.concat([text(Math.ceil(size / 2)), randomBytes(Math.floor(size / 2))])
  const whole = await zipped(bytes, 300_000, 'gzip', level)
  expect(gunzipSync(whole).equals(bytes)).toBe(true)
  expect((await zipped(bytes, 65_537, 'gzip', level)).equals(whole)).toBe(true)
  expect((await zipped(bytes, 2 * MEBIBYTE, 'gzip', level)).equals(whole)).toBe(true)
})

test.each([9, undefined])('what does not shrink is stored, what shrinks is not: level %s', async level => {
  const random = randomBytes(3 * MEBIBYTE)
  const stored = await zipped(random, 100_000, 'gzip', level)
  expect(stored.length).toBeGreaterThan(random.length)
  expect(stored.length).toBeLessThan(random.length * 1.001)
  const mixed = Buffer.concat([text(3 * MEBIBYTE), random])
  expect((await zipped(mixed, 100_000, 'gzip', level)).length).toBeLessThan(random.length * 1.02)
})

test('a source that fails fails what is made of it', async () => {
  async function* broken() {
    yield text(3 * MEBIBYTE)
    throw new Error('broken')
  }
  await expect(Array.fromAsync(compress(broken(), 'gzip', 4))).rejects.toThrow('broken')
  await expect(Array.fromAsync(compress(broken(), 'zstd', 3))).rejects.toThrow('broken')
})

test('zstd comes back', async () => {
  const bytes = Buffer.concat([text(MEBIBYTE), randomBytes(MEBIBYTE)])
  const once = await zipped(bytes, MEBIBYTE, 'zstd', 3)
  expect(zstdDecompressSync(once).equals(bytes)).toBe(true)
})
