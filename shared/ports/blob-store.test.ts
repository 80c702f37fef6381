import { expect, test } from 'vitest'
import { describeBlobStore } from './blob-store.contract.ts'
import { fakeBlobs } from './blob-store.fake.ts'

describeBlobStore('fake', () => fakeBlobs(), { hasUrls: false })
describeBlobStore('fake with small pages', () => fakeBlobs({ page: 100 }), { hasUrls: false })

test('the fake fails as often as it was told, and does nothing then', async () => {
  const store = fakeBlobs()
  store.failNext(2)
  await expect(store.put('a', new Uint8Array(1))).rejects.toMatchObject({ code: 'blob.store-failed' })
  await expect(store.head('a')).rejects.toMatchObject({ code: 'blob.store-failed' })
  expect(await store.head('a')).toBeUndefined()
})

test('a stalled fake answers nobody until it is let go', async () => {
  const store = fakeBlobs()
  const writer = await store.openWriter('a')
  const release = store.stall()
  let isDone = false
  const writing = writer.write(new Uint8Array(3)).then(() => (isDone = true))
  await new Promise(resolve => setTimeout(resolve, 20))
  expect([isDone, store.pendingBytes()]).toEqual([false, 0])
  release()
  await writing
  expect(store.pendingBytes()).toBe(3)
})

test('a suspend that fails ends the writer: nothing of a new one stays, and an older state is still good', async () => {
  const store = fakeBlobs()
  const fresh = await store.openWriter('a')
  await fresh.write(new Uint8Array(3))
  store.failNext(1)
  await expect(fresh.suspend()).rejects.toMatchObject({ code: 'blob.store-failed' })
  expect(store.pendingBytes()).toBe(0)

  const first = await store.openWriter('a')
  await first.write(new Uint8Array(3))
  const state = await first.suspend()
  const second = await store.openWriter('a', state)
  store.failNext(1)
  await expect(second.suspend()).rejects.toMatchObject({ code: 'blob.store-failed' })
  await (await store.openWriter('a', state)).complete()
  expect(await store.head('a')).toEqual({ size: 3 })
})
