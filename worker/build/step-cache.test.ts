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
  await cache.keep('k', result)
  expect(await cache.find('k')).toBeUndefined()
  writeFileSync(cache.blobPath(digest), 'abc')
  expect(await cache.find('k')).toBeUndefined()
  writeFileSync(cache.blobPath(digest), 'abcd')
  expect(await cache.find('k')).toEqual(result)
})

test('two builds may keep one key at once', async () => {
  using cache = await openCache()
  const { created } = result
  await Promise.all(Array.from({ length: 8 }, () => cache.keep('k', { created })))
  expect(await cache.find('k')).toEqual({ created })
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
