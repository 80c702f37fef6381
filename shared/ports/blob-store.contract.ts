import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BlobStore } from './blob-store.ts'

const bytes = (said: string) => new TextEncoder().encode(said)
const MINUTE = 60_000

async function textOf(body: ReadableStream<Uint8Array> | undefined): Promise<string> {
  return new Response(body as ReadableStream<Uint8Array<ArrayBuffer>>).text()
}

/** What every BlobStore does. Keys below `contracttest/` are the suite's own, and are removed. */
export function describeBlobStore(name: string, open: () => Promise<BlobStore> | BlobStore): void {
  describe(`blob store: ${name}`, () => {
    let store: BlobStore
    const prefix = `contracttest/${Date.now().toString(36)}`
    const key = (last: string) => `${prefix}/${last}`

    beforeAll(async () => {
      store = await open()
    })
    afterAll(async () => {
      const { keys } = await store.list(prefix)
      for (const left of keys) await store.delete(left)
    })

    test('what was put is found, read and sized; what was not is undefined', async () => {
      await store.put(key('a'), bytes('hello'))
      expect(await store.head(key('a'))).toEqual({ size: 5 })
      const found = await store.get(key('a'))
      expect(found?.info.size).toBe(5)
      expect(await textOf(found?.body)).toBe('hello')
      expect(await store.head(key('none'))).toBeUndefined()
      expect(await store.get(key('none'))).toBeUndefined()
    })

    test('a range is inclusive at both ends, and the size is still the whole', async () => {
      await store.put(key('range'), bytes('0123456789'))
      const found = await store.get(key('range'), { start: 2, end: 4 })
      expect(await textOf(found?.body)).toBe('234')
      expect(found?.info.size).toBe(10)
    })

    test('a second put replaces the first; deleting twice is no error', async () => {
      await store.put(key('twice'), bytes('first'))
      await store.put(key('twice'), bytes('second!'))
      expect(await store.head(key('twice'))).toEqual({ size: 7 })
      await store.delete(key('twice'))
      await store.delete(key('twice'))
      expect(await store.head(key('twice'))).toBeUndefined()
    })

    test('keys below a prefix are listed in order', async () => {
      for (const last of ['list/c', 'list/a', 'list/b', 'listed']) await store.put(key(last), bytes(last))
      const { keys, cursor } = await store.list(key('list/'))
      expect(keys).toEqual([key('list/a'), key('list/b'), key('list/c')])
      expect(cursor).toBeUndefined()
      expect((await store.list(key('list/'), key('list/a'))).keys).toEqual([key('list/b'), key('list/c')])
    })

    test('a signed upload takes the bytes, a signed download gives them, ranges too', async () => {
      const { url, headers } = await store.signUpload(key('signed'), { expiresMs: MINUTE, size: 6 })
      expect((await fetch(url, { method: 'PUT', headers, body: 'signed' })).ok).toBe(true)
      const download = await store.signDownload(key('signed'), MINUTE)
      expect(await (await fetch(download)).text()).toBe('signed')
      const part = await fetch(download, { headers: { range: 'bytes=1-2' } })
      expect([part.status, await part.text()]).toEqual([206, 'ig'])
    })

    test('a signed upload takes no other size, and a changed URL takes nothing', async () => {
      const { url, headers } = await store.signUpload(key('other'), { expiresMs: MINUTE, size: 3 })
      expect((await fetch(url, { method: 'PUT', headers, body: 'four' })).ok).toBe(false)
      const elsewhere = url.replace('/other', '/elsewhere')
      expect((await fetch(elsewhere, { method: 'PUT', headers, body: 'abc' })).ok).toBe(false)
      expect((await store.list(key(''))).keys).not.toContain(key('other'))
      expect(await store.head(key('elsewhere'))).toBeUndefined()
    })

    test('a URL for downloading uploads nothing', async () => {
      const download = await store.signDownload(key('a'), MINUTE)
      expect((await fetch(download, { method: 'PUT', body: 'x' })).ok).toBe(false)
    })
  })
}
