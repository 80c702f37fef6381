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
