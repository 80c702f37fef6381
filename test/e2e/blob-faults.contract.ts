import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { s3Blobs } from '#control-plane/adapters/s3-blobs.ts'
import type { S3Options } from '#control-plane/adapters/s3-calls.ts'
import { allKeys, textOf } from '#shared/ports/blob-store.contract.ts'
import type { BlobStore } from '#shared/ports/blob-store.ts'
import { pattern } from '#shared/ports/blob-writer.contract.ts'
import { type FaultyProxy, faultyProxy } from '#test/support/faulty-proxy.ts'

const MIB = 1024 * 1024
/** For calls that end by it, */
const ATTEMPT_MS = 400
/** for those of which large parts get through before, */
const PART_MS = 2000
/** and for those that are to come to their end, on a machine that is busy with other things. */
const PATIENT_MS = 20_000
/** Three attempts, the back-off between them, and such a machine. */
const deadlineMs = (attemptMs: number) => 3 * attemptMs + 1500 + 1500
const PREFIX = 'faults'
const key = (last: string) => `${PREFIX}/${last}`

type Call = (store: BlobStore) => Promise<unknown>
const CALLS: [string, Call][] = [
  ['head', store => store.head(key('there'))],
  ['get', store => store.get(key('there'))],
  ['put', store => store.put(key('new'), pattern(100_000))],
  ['a conditional put', store => store.put(key('new'), pattern(100_000), { ifAbsent: true })],
  ['delete', store => store.delete(key('new'))],
  ['list', store => store.list(key(''))],
  ['a small writer', store => write(store, 1000)],
  ['a large writer', store => write(store, 9 * MIB)],
  ['suspending', async store => (await begun(store, 1000)).suspend()],
]

async function begun(store: BlobStore, size: number) {
  const writer = await store.openWriter(key('new'))
  await writer.write(pattern(size))
  return writer
}

async function write(store: BlobStore, size: number): Promise<void> {
  await (await begun(store, size)).complete()
}

/** What an S3 adapter does when the way to its store breaks: each call ends in time, and says what it is. */
export function describeBlobFaults(name: string, options: () => S3Options): void {
  describe(`blob store behind a broken way: ${name}`, () => {
    let proxy: FaultyProxy
    /** A new client each time: one that met many failures tries less and less, which is the SDK's mercy on the store. */
    let open: (attemptMs: number) => BlobStore
    let direct: BlobStore

    beforeAll(async () => {
      proxy = await faultyProxy(Number(new URL(options().endpoint).port))
      direct = s3Blobs(options())
      await direct.put(key('there'), pattern(3 * MIB))
      const url = new URL(options().endpoint)
      url.port = String(proxy.port)
      open = attemptMs => s3Blobs({ ...options(), endpoint: url.href.replace(/\/$/, ''), attemptMs })
    })
    afterEach(async () => {
      proxy.set(undefined)
      await direct.delete(key('new'))
    })
    afterAll(async () => {
      for (const left of await allKeys(direct, PREFIX)) await direct.delete(left)
      await proxy[Symbol.asyncDispose]()
    })

    const expectFailureInTime = async (work: Promise<unknown>, attemptMs = ATTEMPT_MS) => {
      const startedAt = performance.now()
      await expect(work).rejects.toMatchObject({ code: 'blob.store-failed' })
      expect(performance.now() - startedAt).toBeLessThan(deadlineMs(attemptMs))
    }

    test.each(CALLS)('%s ends when nothing is heard', async (_name, call) => {
      proxy.set({ action: 'stall', direction: 'down', afterBytes: 0 })
      await expectFailureInTime(call(open(ATTEMPT_MS)))
    })

    test.each(CALLS)('%s ends when the store hears nothing', async (_name, call) => {
      proxy.set({ action: 'stall', direction: 'up', afterBytes: 0 })
      await expectFailureInTime(call(open(ATTEMPT_MS)))
    })

    test.each(CALLS)('%s ends when each answer stops within its head', async (_name, call) => {
      proxy.set({ action: 'stall', direction: 'down', afterBytes: 20 })
      await expectFailureInTime(call(open(ATTEMPT_MS)))
    })

    test.each(CALLS)('%s ends when each connection is cut', async (_name, call) => {
      proxy.set({ action: 'cut', direction: 'down', afterBytes: 0 })
      await expectFailureInTime(call(open(ATTEMPT_MS)))
    })

    test.each(CALLS)('%s is done all the same when one connection is cut', async (_name, call) => {
      proxy.set({ action: 'cut', direction: 'up', afterBytes: 100, times: 1 })
      await call(open(PATIENT_MS))
      expect(proxy.struck()).toBe(1)
    })

    test('what fails while it is written stays invisible, and can be aborted', async () => {
      const writer = await open(PART_MS).openWriter(key('new'))
      await writer.write(pattern(9 * MIB))
      proxy.set({ action: 'stall', direction: 'up', afterBytes: 1 * MIB })
      await expectFailureInTime(
        writer.write(pattern(17 * MIB)).then(() => writer.complete()),
        PART_MS,
      )
      expect(await direct.head(key('new'))).toBeUndefined()
      proxy.set(undefined)
      await writer.abort()
      expect(await direct.list(key('new'))).toEqual({ keys: [], cursor: undefined })
    })

    test('a write that fails is gone on with from the state before', async () => {
      const all = pattern(20 * MIB)
      const store = open(PATIENT_MS)
      const first = await store.openWriter(key('new'))
      await first.write(all.subarray(0, 9 * MIB))
      const state = await first.suspend()
      proxy.set({ action: 'cut', direction: 'up', afterBytes: 2 * MIB })
      const second = await store.openWriter(key('new'), state)
      await expectFailureInTime(second.write(all.subarray(9 * MIB)).then(() => second.suspend()))
      proxy.set(undefined)
      const third = await store.openWriter(key('new'), state)
      await third.write(all.subarray(9 * MIB))
      await third.complete()
      const found = await direct.get(key('new'))
      const read = await new Response(found?.body as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer()
      expect(Buffer.compare(new Uint8Array(read), all)).toBe(0)
    })

    test.each(['cut', 'stall'] as const)('a body that meets a %s on its way fails its reader', async action => {
      proxy.set({ action, direction: 'down', afterBytes: 1 * MIB })
      const found = await open(ATTEMPT_MS).get(key('there'))
      await expectFailureInTime(textOf(found?.body))
    })

    test('the answer to the end of a large object may be lost: it is there, and the call knows', async () => {
      const store = open(PATIENT_MS)
      const writer = await store.openWriter(key('new'))
      await writer.write(pattern(16 * MIB))
      const state = await writer.suspend()
      const last = await store.openWriter(key('new'), state)
      await last.write(new Uint8Array(0)) // The checkpoint is read here, so that the next request is the end's.
      proxy.set({ action: 'cut', direction: 'down', afterBytes: 0, times: 1 })
      await last.complete()
      expect(proxy.struck()).toBe(1)
      expect(await direct.head(key('new'))).toMatchObject({ size: 16 * MIB })
    })

    test('the answer to a conditional put may be lost: who wrote it is told so', async () => {
      const store = open(PATIENT_MS)
      proxy.set({ action: 'cut', direction: 'down', afterBytes: 0, times: 1 })
      expect(await store.put(key('new'), pattern(100), { ifAbsent: true })).toBe(true)
      expect(proxy.struck()).toBe(1)
      proxy.set({ action: 'cut', direction: 'down', afterBytes: 0, times: 1 })
      expect(await store.put(key('new'), pattern(100, 2), { ifAbsent: true })).toBe(false)
    })
  })
}
