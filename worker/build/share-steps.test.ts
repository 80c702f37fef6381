import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { MissingBlob } from '#shared/protocol/agent.ts'
import type { ShareStep } from '#shared/protocol/build-cache.ts'
import { openStepSharing } from './share-steps.ts'
import { openStepCache, stepKey } from './step-cache.ts'
import { openTurns } from './turns.ts'

const root = mkdtempSync(join(tmpdir(), 'slipway-share-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const DAY_MS = 24 * 60 * 60 * 1000
const digest = digestFromHex('a'.repeat(64))
const layer = { diffId: digest, digest, size: 4 }
const result = { created: '2026-01-01T00:00:00.000Z', layer }

/** A store and an index in memory, which can be away. */
function openFleet() {
  const blobs = new Set<Digest>()
  const steps = new Map<string, ShareStep>()
  const calls = { uploads: 0, shares: 0, isAway: false }
  const api = {
    shareStep: async (key: string, step: ShareStep) => {
      calls.shares++
      if (calls.isAway) throw new SlipwayError('host.unreachable', 'away')
      const blob = step.result.layer?.digest
      if (blob && !blobs.has(blob)) throw new SlipwayError('blob.not-found', 'no blob')
      steps.set(key, step)
    },
    missingBlobs: async (wanted: readonly Descriptor[]): Promise<MissingBlob[]> =>
      wanted
        .filter(blob => !blobs.has(blob.digest))
        .map(({ digest }) => ({ digest, upload: { url: 'http://localhost', headers: {} } })),
    upload: async (blob: MissingBlob) => {
      calls.uploads++
      blobs.add(blob.digest)
    },
  }
  return { api, calls, steps }
}

async function openHost(fleet: ReturnType<typeof openFleet>) {
  const cache = await openStepCache(mkdtempSync(join(root, 'x-')), async () => true)
  writeFileSync(cache.blobPath(digest), 'abcd')
  let now = DAY_MS * 100
  const { share } = openStepSharing({
    ...{ api: fleet.api, cache, pushes: openTurns(), signal: new AbortController().signal },
    ...{ log: { debug: () => {}, warn: () => {} }, now: () => now },
  })
  const pass = (ms: number) => {
    now += ms
  }
  return { cache, share, pass }
}
const [first, second] = ['first', 'second'].map(stepKey) as [string, string]

test('what the kernel killed processes of for want of memory is not told', async () => {
  const fleet = openFleet()
  const { cache, share } = await openHost(fleet)
  await cache.keep(first, { result, lackedMemory: true })
  share(first)
  await cache.keep(second, { result })
  share(second)
  await vi.waitFor(() => expect([...fleet.steps.keys()]).toEqual([second]))
})

test('a step is named once its blob is there, which goes up once for all steps that have it', async () => {
  const fleet = openFleet()
  const { cache, share } = await openHost(fleet)
  await cache.keep(first, { result })
  await cache.keep(second, { result, after: first })
  for (const key of [first, second, first, second]) share(key)
  await vi.waitFor(() => expect(fleet.steps.size).toBe(2))
  expect(fleet.steps.get(first)).toEqual({ result, isAnew: false })
  expect(fleet.steps.get(second)).toEqual({ result, isAnew: false, after: first })
  expect(fleet.calls.uploads).toBe(1)
})

test('what was shared is said again after a day, and what failed the next time', async () => {
  const fleet = openFleet()
  const { cache, share, pass } = await openHost(fleet)
  await cache.keep(first, { result })
  fleet.calls.isAway = true
  share(first)
  await vi.waitFor(() => expect(fleet.calls.shares).toBe(1))
  expect((await cache.list())[0]?.isShared).toBe(false)
  fleet.calls.isAway = false
  const isShared = async () => expect((await cache.list())[0]?.isShared).toBe(true)
  await vi.waitFor(async () => {
    share(first)
    await isShared()
  })
  const told = fleet.calls.shares
  share(first)
  await cache.keep(second, { result })
  share(second)
  await vi.waitFor(() => expect(fleet.steps.has(second)).toBe(true))
  expect(fleet.calls.shares).toBe(told + 1)
  pass(DAY_MS)
  share(first)
  await vi.waitFor(() => expect(fleet.calls.shares).toBe(told + 2))
})

test('what a build did anew takes the place of what the fleet knows, once', async () => {
  const fleet = openFleet()
  const { cache, share, pass } = await openHost(fleet)
  await cache.keep(first, { result, isAnew: true })
  share(first)
  await vi.waitFor(() => expect(fleet.steps.get(first)?.isAnew).toBe(true))
  await vi.waitFor(async () => expect((await cache.list())[0]?.isShared).toBe(true))
  pass(DAY_MS)
  share(first)
  await vi.waitFor(() => expect(fleet.steps.get(first)?.isAnew).toBe(false))
})
