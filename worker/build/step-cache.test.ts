import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { openStepCache, stepKey } from './step-cache.ts'

async function openCache() {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-cache-'))
  const cache = await openStepCache(folder, async () => true)
  return { ...cache, folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}

const digest = digestFromHex('a'.repeat(64))
const result: StepResult = { created: '2026-01-01T00:00:00.000Z', layer: { diffId: digest, digest, size: 4 } }

test('an entry counts while its blob has its whole size', async () => {
  using cache = await openCache()
  await cache.keep('k', { result })
  expect(await cache.find('k')).toBeUndefined()
  writeFileSync(cache.blobPath(digest), 'abc')
  expect(await cache.find('k')).toBeUndefined()
  writeFileSync(cache.blobPath(digest), 'abcd')
  expect(await cache.find('k')).toEqual({ result })
})

test('two builds may keep one key at once', async () => {
  using cache = await openCache()
  const { created } = result
  await Promise.all(Array.from({ length: 8 }, () => cache.keep('k', { result: { created } })))
  expect(await cache.find('k')).toEqual({ result: { created } })
  expect(readdirSync(cache.folder).sort()).toEqual(['blobs', 'k'])
})

test('a key depends on its inputs and on how this version works', () => {
  expect(stepKey(['a'])).toBe(stepKey(['a']))
  expect(stepKey(['a'])).not.toBe(stepKey(['b']))
  const withoutVersion = createHash('sha256')
    .update(JSON.stringify(['a']))
    .digest('hex')
  expect(stepKey(['a'])).not.toBe(withoutVersion)
})

test('a blob goes with the last of the steps that gave it, whether they were there before or came since', async () => {
  using cache = await openCache()
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(stepKey) as [string, string, string, string]
  writeFileSync(cache.blobPath(digest), 'abcd')
  await cache.keep(a, { result })
  await cache.keep(b, { result, after: a })
  await cache.remove(a)
  await cache.keep(c, { result })
  await cache.keep(d, { result: { created: result.created }, sharedAt: 1 })
  await cache.remove(b)
  expect(await cache.find(c)).toEqual({ result })
  expect(new Map((await cache.list()).map(({ key, isShared }) => [key, isShared]))).toEqual(
    new Map([
      [c, false],
      [d, true],
    ]),
  )
  await cache.remove(c)
  expect(readdirSync(cache.folder).sort()).toEqual(['blobs', d].sort())
  expect(readdirSync(join(cache.folder, 'blobs'))).toEqual([])
})
