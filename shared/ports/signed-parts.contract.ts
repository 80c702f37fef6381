import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { BlobStore } from './blob-store.ts'

const PART = 5 * 1024 * 1024
const LAST = 1234
const SIZE = 2 * PART + LAST
const SLOW_MS = 60_000
/** Some stores call what is gone a failure of theirs, or a bad request. */
const refused = { code: expect.stringMatching(/^blob\.(not-found|store-failed)$/) }

/** What the signed parts of every BlobStore do. */
export function describeSignedParts(storeOf: () => BlobStore, key: (last: string) => string): void {
  const partOf = (number: number) => {
    const offset = (number - 1) * PART
    return { number, offset, size: Math.min(PART, SIZE - offset), expiresMs: SLOW_MS }
  }
  const send = async (to: string, id: string, number: number, bytes: Buffer): Promise<string> => {
    const { url, headers } = await storeOf().parts.sign(to, id, partOf(number))
    const answer = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(bytes) })
    await answer.arrayBuffer()
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`) // Or the connection closed under what nobody reads.
    return answer.headers.get('etag') ?? ''
  }
  const pieceOf = (whole: Buffer, number: number) => whole.subarray((number - 1) * PART, number * PART)
  const sendAll = async (to: string, id: string, whole: Buffer) =>
    Promise.all([1, 2, 3].map(number => send(to, id, number, pieceOf(whole, number))))
  const read = async (from: string) => {
    const body = (await storeOf().get(from))?.body as ReadableStream<Uint8Array<ArrayBuffer>> | undefined
    return Buffer.from(await new Response(body).arrayBuffer())
  }

  describe('signed parts', () => {
    test(
      'sent in any order, one of them twice, they are one object once they are joined',
      async () => {
        const [at, whole] = [key('parts/joined'), randomBytes(SIZE)]
        const id = await storeOf().parts.begin(at)
        const last = await send(at, id, 3, pieceOf(whole, 3))
        await send(at, id, 1, randomBytes(PART))
        const [first, second] = await Promise.all([1, 2].map(number => send(at, id, number, pieceOf(whole, number))))
        expect(await storeOf().head(at)).toBeUndefined()
        await storeOf().parts.join(at, id, [first ?? '', second ?? '', last], SIZE)
        expect(await storeOf().head(at)).toMatchObject({ size: SIZE })
        expect((await read(at)).equals(whole)).toBe(true)
      },
      SLOW_MS,
    )

    test(
      'joining again is no error, and a late part changes nothing',
      async () => {
        const [at, whole] = [key('parts/again'), randomBytes(SIZE)]
        const id = await storeOf().parts.begin(at)
        const tags = await sendAll(at, id, whole)
        await storeOf().parts.join(at, id, tags, SIZE)
        await storeOf().parts.join(at, id, tags, SIZE)
        await expect(send(at, id, 1, randomBytes(PART))).rejects.toThrow()
        expect((await read(at)).equals(whole)).toBe(true)
      },
      SLOW_MS,
    )

    test('a part takes no other size, and a changed URL takes nothing', async () => {
      const at = key('parts/sized')
      const id = await storeOf().parts.begin(at)
      await expect(send(at, id, 3, randomBytes(LAST + 1))).rejects.toThrow()
      const { url, headers } = await storeOf().parts.sign(at, id, partOf(3))
      const elsewhere = url.replace('/sized', '/elsewhere')
      expect((await fetch(elsewhere, { method: 'PUT', headers, body: randomBytes(LAST) })).ok).toBe(false)
      await storeOf().parts.drop(at, id)
    })

    test(
      'what is dropped is gone: no part, no joining, no object; dropping again is no error',
      async () => {
        const [at, whole] = [key('parts/dropped'), randomBytes(SIZE)]
        const id = await storeOf().parts.begin(at)
        const tags = await sendAll(at, id, whole)
        await storeOf().parts.drop(at, id)
        await storeOf().parts.drop(at, id)
        await expect(send(at, id, 1, pieceOf(whole, 1))).rejects.toThrow()
        await expect(storeOf().parts.join(at, id, tags, SIZE)).rejects.toMatchObject(refused)
        expect(await storeOf().head(at)).toBeUndefined()
      },
      SLOW_MS,
    )

    test('a part that did not come whole is not joined', async () => {
      const at = key('parts/short')
      const id = await storeOf().parts.begin(at)
      await expect(storeOf().parts.join(at, id, ['"x"', '"y"', '"z"'], SIZE)).rejects.toMatchObject(refused)
      expect(await storeOf().head(at)).toBeUndefined()
      await storeOf().parts.drop(at, id)
    })
  })
}
