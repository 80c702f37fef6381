import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { digestOf } from '#shared/digest.ts'
import type { LayerPacking } from './build-work.ts'
import { cachedStep } from './cached-step.ts'
import { NO_FLEET } from './fleet-steps.ts'
import { openStepCache } from './step-cache.ts'

const root = mkdtempSync(join(tmpdir(), 'slipway-cached-'))
afterAll(() => rmSync(root, { recursive: true }))
/** More than the buffers that decompressors fill again. */
const tar = Buffer.from(Array.from({ length: 500_000 }, (_, line) => `line ${line}\n`).join(''))

async function openWork() {
  const folder = mkdtempSync(join(root, 'work-'))
  const cache = await openStepCache(join(folder, 'cache'), async () => true)
  const blob = gzipSync(tar)
  const digest = await digestOf(blob)
  writeFileSync(cache.blobPath(digest), blob)
  const layer = { diffId: await digestOf(tar), unpackedBytes: tar.length, digest, size: blob.length }
  const step = { created: '2026-01-01T00:00:00.000Z', layer }
  await cache.keep('k', { result: step })
  const { signal } = new AbortController()
  const random = (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes)
  const found = (packing: LayerPacking) =>
    cachedStep({ cache, fleet: NO_FLEET, share: () => {}, packing, signal, folder, random }, 'k')
  return { cache, step, folder, found }
}

test('a layer that is compressed otherwise is taken as it is', async () => {
  const { found, step } = await openWork()
  expect(await found({ compression: 'zstd', forceCompression: false })).toEqual(step)
  expect(await found({ compression: 'gzip', forceCompression: true })).toEqual(step)
})

test('a build that insists gets it compressed again, once, and the first stays', async () => {
  const { cache, found, step, folder } = await openWork()
  const zstd = await found({ compression: 'zstd', forceCompression: true })
  expect(zstd).toMatchObject({ created: step.created, layer: { compression: 'zstd', diffId: step.layer.diffId } })
  const path = cache.blobPath(zstd?.layer?.digest ?? step.layer.digest)
  expect(zstdDecompressSync(readFileSync(path)).equals(tar)).toBe(true)
  expect(await found({ compression: 'zstd', compressionLevel: 19, forceCompression: true })).toEqual(zstd)
  expect(await found({ compression: 'gzip', forceCompression: true })).toEqual(step)
  expect(gunzipSync(readFileSync(cache.blobPath(step.layer.digest))).equals(tar)).toBe(true)
  expect(readdirSync(folder)).toEqual(['cache'])
})

test.each([
  ['holds something else', gzipSync('other')],
  ['is damaged', Buffer.from('no gzip')],
])('a blob that %s is no hit', async (_name, bytes) => {
  const { cache, found, step, folder } = await openWork()
  const size = step.layer.size
  const other = Buffer.concat([bytes, Buffer.alloc(size)]).subarray(0, size)
  writeFileSync(cache.blobPath(step.layer.digest), other)
  await cache.keep('k', { result: step })
  expect(await found({ compression: 'zstd', forceCompression: true })).toBeUndefined()
  expect(readdirSync(folder)).toEqual(['cache'])
})
