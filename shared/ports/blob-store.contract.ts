import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BlobStore } from './blob-store.ts'
import { describeBlobWriter } from './blob-writer.contract.ts'
import { describeSignedParts } from './signed-parts.contract.ts'

export interface BlobStoreTraits {
  /** Whether somebody serves the signed URLs. */
  hasUrls?: boolean
  /** Whether the store itself refuses a signed upload of bytes with another digest. */
  verifiesUploads?: boolean
  /** Whether a writer that went back to an older state may end with fewer parts of 8 MiB than it once had sent. */
  forgetsParts?: boolean
}

const bytes = (said: string) => new TextEncoder().encode(said)
const sha256 = (said: string) => createHash('sha256').update(said).digest('hex')
const MINUTE = 60_000
const MANY = 1003
const AT_ONCE = 32

export async function textOf(body: ReadableStream<Uint8Array> | undefined): Promise<string> {
  return new Response(body as ReadableStream<Uint8Array<ArrayBuffer>>).text()
}

/** What every BlobStore does. Keys below `contracttest/` are the suite's own, and are removed. */
export function describeBlobStore(
  name: string,
  open: () => Promise<BlobStore> | BlobStore,
  traits: BlobStoreTraits = {},
): void {
  const { hasUrls = true, verifiesUploads = true } = traits
  describe(`blob store: ${name}`, () => {
    let store: BlobStore
    const prefix = `contracttest/${Date.now().toString(36)}`
    const key = (last: string) => `${prefix}/${last}`

    beforeAll(async () => {
      store = await open()
    })
    afterAll(async () => {
      await inTurns(await allKeys(store, prefix), left => store.delete(left))
      expect(await allKeys(store, prefix)).toEqual([])
    })

    test('what was put is found, read and sized; what was not is undefined', async () => {
      expect(await store.put(key('a'), bytes('hello'))).toBe(true)
      expect(await store.head(key('a'))).toMatchObject({ size: 5 })
      const found = await store.get(key('a'))
      expect(found?.info.size).toBe(5)
      expect(await textOf(found?.body)).toBe('hello')
      expect(await store.head(key('none'))).toBeUndefined()
      expect(await store.get(key('none'))).toBeUndefined()
      expect(await store.get(key('none'), { start: 0, end: 1 })).toBeUndefined()
    })

    test('no bytes at all are an object too', async () => {
      await store.put(key('empty'), new Uint8Array(0))
      expect(await store.head(key('empty'))).toMatchObject({ size: 0 })
      expect(await textOf((await store.get(key('empty')))?.body)).toBe('')
    })

    test.each([
      [2, 4, '234'],
      [0, 0, '0'],
      [9, 9, '9'],
      [7, 1000, '789'],
      [10, 20, ''],
    ])(
      'the range %i to %i is inclusive at both ends and may go beyond; the size is still the whole',
      async (start, end, text) => {
        await store.put(key('range'), bytes('0123456789'))
        const found = await store.get(key('range'), { start, end })
        expect(await textOf(found?.body)).toBe(text)
        expect(found?.info.size).toBe(10)
      },
    )

    test('a second put replaces the first; deleting twice is no error', async () => {
      await store.put(key('twice'), bytes('first'))
      await store.put(key('twice'), bytes('second!'))
      expect(await store.head(key('twice'))).toMatchObject({ size: 7 })
      await store.delete(key('twice'))
      await store.delete(key('twice'))
      expect(await store.head(key('twice'))).toBeUndefined()
    })

    test('a put for a new key alone never replaces, and goes through again after a delete', async () => {
      expect(await store.put(key('once'), bytes('first'), { ifAbsent: true })).toBe(true)
      expect(await store.put(key('once'), bytes('second'), { ifAbsent: true })).toBe(false)
      expect(await textOf((await store.get(key('once')))?.body)).toBe('first')
      await store.delete(key('once'))
      expect(await store.put(key('once'), bytes('third'), { ifAbsent: true })).toBe(true)
      expect(await textOf((await store.get(key('once')))?.body)).toBe('third')
    })

    test('of several puts for a new key at once, one wins, and its bytes stay', async () => {
      const said = Array.from({ length: 8 }, (_, index) => `writer ${index}`)
      const won = await Promise.all(said.map(text => store.put(key('race'), bytes(text), { ifAbsent: true })))
      expect(won.filter(Boolean)).toEqual([true])
      expect(await textOf((await store.get(key('race')))?.body)).toBe(said[won.indexOf(true)])
    })

    test('keys below a prefix are listed in order', async () => {
      for (const last of ['list/c', 'list/a', 'list/b', 'listed']) await store.put(key(last), bytes(last))
      const { keys, cursor } = await store.list(key('list/'))
      expect(keys).toEqual([key('list/a'), key('list/b'), key('list/c')])
      expect(cursor).toBeUndefined()
      expect((await store.list(key('list/'), key('list/a'))).keys).toEqual([key('list/b'), key('list/c')])
    })

    test(`${MANY} keys come in pages, each once and in order`, async () => {
      const all = Array.from({ length: MANY }, (_, index) => key(`many/${String(index).padStart(5, '0')}`))
      await inTurns(all, one => store.put(one, bytes('x')))
      expect((await store.list(key('many/'))).keys.length).toBeLessThanOrEqual(1000)
      expect(await allKeys(store, key('many/'))).toEqual(all)
    }, 60_000)

    if (hasUrls)
      describe('signed URLs', () => {
        test('an upload takes the bytes, a download gives them, ranges too', async () => {
          const { url, headers } = await store.signUpload(key('signed'), { expiresMs: MINUTE, size: 6 })
          expect((await fetch(url, { method: 'PUT', headers, body: 'signed' })).ok).toBe(true)
          const download = await store.signDownload(key('signed'), MINUTE)
          expect(await (await fetch(download)).text()).toBe('signed')
          const part = await fetch(download, { headers: { range: 'bytes=1-2' } })
          expect([part.status, await part.text()]).toEqual([206, 'ig'])
        })

        test('an upload takes no other size, and a changed URL takes nothing', async () => {
          const { url, headers } = await store.signUpload(key('other'), { expiresMs: MINUTE, size: 3 })
          expect((await fetch(url, { method: 'PUT', headers, body: 'four' })).ok).toBe(false)
          const elsewhere = url.replace('/other', '/elsewhere')
          expect((await fetch(elsewhere, { method: 'PUT', headers, body: 'abc' })).ok).toBe(false)
          expect(await allKeys(store, key('other'))).toEqual([])
          expect(await store.head(key('elsewhere'))).toBeUndefined()
        })

        test('an upload with a digest takes the bytes, and head tells that digest or none', async () => {
          const terms = { expiresMs: MINUTE, size: 5, sha256: sha256('known') }
          const { url, headers } = await store.signUpload(key('known'), terms)
          expect((await fetch(url, { method: 'PUT', headers, body: 'known' })).ok).toBe(true)
          expect([undefined, sha256('known')]).toContain((await store.head(key('known')))?.sha256)
        })

        test('an upload with a digest takes no other one', async () => {
          const { url, headers } = await store.signUpload(key('bound'), { expiresMs: MINUTE, sha256: sha256('bound') })
          for (const [name, digest] of Object.entries(headers)) {
            expect((await fetch(url, { method: 'PUT', body: 'bound' })).ok).toBe(false)
            const other = { ...headers, [name]: digest.replace(/^./, first => (first === 'A' ? 'B' : 'A')) }
            expect((await fetch(url, { method: 'PUT', headers: other, body: 'bound' })).ok).toBe(false)
          }
          expect(await store.head(key('bound'))).toBeUndefined()
        })

        if (verifiesUploads)
          test('an upload with a digest takes no other bytes', async () => {
            const terms = { expiresMs: MINUTE, size: 5, sha256: sha256('right') }
            const { url, headers } = await store.signUpload(key('right'), terms)
            expect((await fetch(url, { method: 'PUT', headers, body: 'wrong' })).ok).toBe(false)
            expect(await store.head(key('right'))).toBeUndefined()
          })

        test('a URL for downloading uploads nothing', async () => {
          await store.put(key('read'), bytes('read'))
          const download = await store.signDownload(key('read'), MINUTE)
          expect((await fetch(download, { method: 'PUT', body: 'x' })).ok).toBe(false)
        })
      })

    if (hasUrls) describeSignedParts(() => store, key)
    describeBlobWriter(() => store, key, traits)
  })
}

export async function allKeys(store: BlobStore, prefix: string): Promise<string[]> {
  const all: string[] = []
  let cursor: string | undefined
  do {
    const page = await store.list(prefix, cursor)
    all.push(...page.keys)
    cursor = page.cursor
  } while (cursor !== undefined)
  return all
}

async function inTurns(keys: readonly string[], work: (key: string) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < keys.length; at += AT_ONCE) await Promise.all(keys.slice(at, at + AT_ONCE).map(work))
}
