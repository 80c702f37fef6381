import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { openStepCache, stepKey } from './step-cache.ts'
import { sweepCache } from './sweep-cache.ts'

const folder = mkdtempSync(join(tmpdir(), 'slipway-sweep-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const digest = (letter: string) => digestFromHex(letter.repeat(64))

test('old blobs without an entry and entries without a blob go; what belongs together stays', async () => {
  const cache = await openStepCache(folder, async () => true)
  const blobs = (letters: string) => letters.split('').map(letter => letter.repeat(64))
  const layer = { diffId: digest('1'), digest: digest('a'), size: 1 }
  const [whole, empty, lost, torn] = ['whole', 'empty', 'lost', 'torn'].map(stepKey)
  const created = '2026-01-01T00:00:00.000Z'
  await cache.keep(whole ?? '', { result: { created, layer } })
  await cache.keep(empty ?? '', { result: { created } })
  await cache.keep(lost ?? '', { result: { created, layer: { ...layer, diffId: digest('2'), digest: digest('b') } } })
  writeFileSync(join(folder, torn ?? ''), '{"created":')
  for (const letter of ['a', 'c']) writeFileSync(cache.blobPath(digest(letter)), 'blob')

  await sweepCache(folder, Date.now() - 60_000)
  expect(readdirSync(join(folder, 'blobs')).sort()).toEqual(blobs('ac'))

  await sweepCache(folder, Date.now() + 60_000)
  expect(readdirSync(join(folder, 'blobs'))).toEqual(blobs('a'))
  expect(readdirSync(folder).sort()).toEqual(['blobs', whole, empty].sort())
})
