import { describe, expect, test } from 'vitest'
import type { BlobStore, BlobWriter, WriterState } from './blob-store.ts'

const KIB = 1024
const MIB = 1024 * KIB
const SLOW_MS = 60_000
const MAX_STATE_CHARS = 2048

/** Bytes that no two places share, so that a piece that is lost, doubled or moved shows. */
export function pattern(length: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4))
  let word = seed
  for (let at = 0; at < words.length; at++) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0
    words[at] = word
  }
  return new Uint8Array(words.buffer, 0, length)
}

export async function writeInPieces(writer: BlobWriter, all: Uint8Array, size: number): Promise<void> {
  const piece = new Uint8Array(size) // One buffer for all: a writer must have taken the bytes when `write` resolves.
  for (let at = 0; at < all.length; at += size) {
    const next = all.subarray(at, at + size)
    piece.set(next)
    await writer.write(piece.subarray(0, next.length))
  }
}

/** What writers of every BlobStore do; part of `describeBlobStore`. */
export function describeBlobWriter(
  storeOf: () => BlobStore,
  key: (last: string) => string,
  { forgetsParts = true }: { forgetsParts?: boolean },
): void {
  const read = async (at: string) => {
    const found = await storeOf().get(at)
    return (
      found && new Uint8Array(await new Response(found.body as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
    )
  }
  const expectObject = async (at: string, expected: Uint8Array) => {
    const found = await read(at)
    expect(found?.length).toBe(expected.length)
    expect(found && Buffer.compare(found, expected)).toBe(0) // Not toEqual: it would take a minute for 20 MiB.
  }
  const expectNothing = async (at: string) => {
    expect(await storeOf().head(at)).toBeUndefined()
    expect(await read(at)).toBeUndefined()
    expect((await storeOf().list(at)).keys).toEqual([])
  }
  const begun = async (at: string, ...pieces: Uint8Array[]): Promise<WriterState> => goneOn(at, undefined, ...pieces)
  const goneOn = async (at: string, state: WriterState | undefined, ...pieces: Uint8Array[]) => {
    const writer = await storeOf().openWriter(at, state)
    for (const piece of pieces) await writer.write(piece)
    const next = await writer.suspend()
    expect(next.length).toBeLessThanOrEqual(MAX_STATE_CHARS)
    return next
  }
  const ended = async (at: string, state: WriterState | undefined, ...pieces: Uint8Array[]) => {
    const writer = await storeOf().openWriter(at, state)
    for (const piece of pieces) await writer.write(piece)
    await writer.complete()
  }

  describe('writers', () => {
    test('a small object is whole after complete, and there is nothing before', async () => {
      const writer = await storeOf().openWriter(key('w/small'))
      await writer.write(pattern(1000))
      await expectNothing(key('w/small'))
      await writer.complete()
      await expectObject(key('w/small'), pattern(1000))
    })

    test('an object without bytes', async () => {
      await ended(key('w/empty'), undefined)
      await expectObject(key('w/empty'), new Uint8Array(0))
      await ended(key('w/empty2'), await begun(key('w/empty2')))
      await expectObject(key('w/empty2'), new Uint8Array(0))
    })

    test('an object over what is there replaces it, whole', async () => {
      await storeOf().put(key('w/over'), pattern(10, 2))
      const writer = await storeOf().openWriter(key('w/over'))
      await writer.write(pattern(20, 3))
      await expectObject(key('w/over'), pattern(10, 2))
      await writer.complete()
      await expectObject(key('w/over'), pattern(20, 3))
    })

    test.each([
      ['20 MiB in odd pieces', 20 * MIB + 12345, 65521],
      ['one part to the byte', 8 * MIB, 64 * KIB],
      ['two parts to the byte', 16 * MIB, 1_000_003],
      ['a piece larger than two parts', 17 * MIB, 17 * MIB],
    ])(
      '%s',
      async (_name, size, piece) => {
        const all = pattern(size)
        const writer = await storeOf().openWriter(key('w/big'))
        await writeInPieces(writer, all, piece)
        await writer.complete()
        await expectObject(key('w/big'), all)
        expect((await storeOf().get(key('w/big'), { start: 0, end: 0 }))?.info.size).toBe(size)
      },
      SLOW_MS,
    )

    test(
      'suspended again and again with pieces below a part, an object is as written',
      async () => {
        const all = pattern(10 * MIB + 77)
        let state: WriterState | undefined
        for (let at = 0; at < all.length; at += 1_300_000) {
          state = await goneOn(key('w/often'), state, all.subarray(at, at + 1_300_000))
          await expectNothing(key('w/often'))
        }
        await ended(key('w/often'), state)
        await expectObject(key('w/often'), all)
        expect((await storeOf().list(key('w/often'))).keys).toEqual([key('w/often')])
      },
      SLOW_MS,
    )

    test(
      'suspended between parts, an object is as written',
      async () => {
        const all = pattern(27 * MIB)
        let state = await begun(key('w/between'), all.subarray(0, 9 * MIB))
        state = await goneOn(key('w/between'), state, all.subarray(9 * MIB, 16 * MIB))
        state = await goneOn(key('w/between'), state)
        await ended(key('w/between'), state, all.subarray(16 * MIB))
        await expectObject(key('w/between'), all)
      },
      SLOW_MS,
    )

    test('what was written after a state is forgotten by who goes on from it', async () => {
      const state = await begun(key('w/back'), pattern(1000))
      await goneOn(key('w/back'), state, pattern(5000, 2))
      await ended(key('w/back'), state, pattern(10, 3))
      await expectObject(key('w/back'), Buffer.concat([pattern(1000), pattern(10, 3)]))
    })

    test(
      'whole parts are forgotten too, when others take their place',
      async () => {
        const state = await begun(key('w/replaced'), pattern(9 * MIB))
        await goneOn(key('w/replaced'), state, pattern(12 * MIB, 2))
        const other = pattern(12 * MIB + 5, 3)
        await ended(
          key('w/replaced'),
          await goneOn(key('w/replaced'), state, other.subarray(0, MIB)),
          other.subarray(MIB),
        )
        await expectObject(key('w/replaced'), Buffer.concat([pattern(9 * MIB), other]))
      },
      SLOW_MS,
    )

    if (forgetsParts)
      test(
        'whole parts are forgotten too, when nothing takes their place',
        async () => {
          const state = await begun(key('w/fewer'), pattern(9 * MIB))
          await goneOn(key('w/fewer'), state, pattern(16 * MIB, 2))
          await ended(key('w/fewer'), state, pattern(10, 3))
          await expectObject(key('w/fewer'), Buffer.concat([pattern(9 * MIB), pattern(10, 3)]))
        },
        SLOW_MS,
      )

    test.each([
      ['small', 1000],
      ['large', 9 * MIB],
    ])('a %s object that is aborted leaves nothing; aborting again is no error', async (_name, size) => {
      const writer = await storeOf().openWriter(key('w/aborted'))
      await writer.write(pattern(size))
      await writer.abort()
      await writer.abort()
      await expectNothing(key('w/aborted'))
    })

    test('a suspended object is aborted from its state, and then is gone', async () => {
      const state = await begun(key('w/dropped'), pattern(9 * MIB))
      const writer = await storeOf().openWriter(key('w/dropped'), state)
      await writer.abort()
      await expectNothing(key('w/dropped'))
      await expect(ended(key('w/dropped'), state, pattern(1))).rejects.toMatchObject({ code: 'blob.not-found' })
    })

    test('abort after suspend or complete takes nothing back', async () => {
      const first = await storeOf().openWriter(key('w/kept'))
      await first.write(pattern(100))
      const state = await first.suspend()
      await first.abort()
      const second = await storeOf().openWriter(key('w/kept'), state)
      await second.complete()
      await second.abort()
      await expectObject(key('w/kept'), pattern(100))
    })

    test('writers of two keys do not meet, though one key is below the other', async () => {
      const outer = await begun(key('w/nest'), pattern(100))
      const inner = await begun(key('w/nest/tail'), pattern(200, 2))
      await ended(key('w/nest'), outer)
      await storeOf().delete(key('w/nest')) // A folder holds either the file or the folder of this name.
      await ended(key('w/nest/tail'), inner)
      await expectObject(key('w/nest/tail'), pattern(200, 2))
    })
  })
}
