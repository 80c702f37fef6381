import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { WriterState } from '#shared/ports/blob-store.ts'
import { type PartStore, s3Writer } from './s3-writer.ts'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

/** Sizes and numbers in place of bytes, so that objects may be large. Tags are as long as the longest seen, R2's. */
function recordingStore() {
  const said: string[] = []
  const parts = new Map<number, number>()
  const kept = new Map<string, Uint8Array>()
  let atOnce = 0
  let mostAtOnce = 0
  let joined: number[] = []
  const store: PartStore = {
    put: async (key, bytes) => {
      said.push(key.startsWith('.part/') ? `checkpoint ${bytes.length}` : `put ${bytes.length}`)
      kept.set(key, bytes.slice())
    },
    read: async key => kept.get(key),
    remove: async key => void kept.delete(key),
    clear: async prefix => {
      for (const key of kept.keys()) if (key.startsWith(prefix)) kept.delete(key)
    },
    begin: async () => {
      said.push('begin')
      return 'u'.repeat(400)
    },
    putPart: async (_key, _id, number, bytes) => {
      mostAtOnce = Math.max(mostAtOnce, ++atOnce)
      await new Promise(setImmediate)
      atOnce--
      parts.set(number, bytes.length)
      return String(number).padEnd(171, '.')
    },
    join: async (_key, _id, tags, size) => {
      said.push(`join ${tags.length} ${size}`)
      joined = tags.map(tag => parts.get(Number.parseInt(tag, 10)) ?? 0)
    },
    drop: async () => void said.push('drop'),
  }
  return { store, said, kept, sizes: () => joined, mostAtOnce: () => mostAtOnce }
}

type Recording = ReturnType<typeof recordingStore>

const open = ({ store }: Recording, state?: WriterState, partBytes?: number) =>
  s3Writer(store, 'blobs/x', { state, name: randomUUID, ...(partBytes === undefined ? {} : { partBytes }) })

const tails = ({ kept }: Recording) => [...kept.keys()].filter(key => key.startsWith('.part/'))

describe('parts', () => {
  test('more than 5 GiB go as equal parts of 8 MiB and a rest, one on its way at a time', async () => {
    const recording = recordingStore()
    const writer = open(recording)
    const piece = new Uint8Array(64 * MIB)
    for (let at = 0; at < 6 * GIB; at += piece.length) await writer.write(piece)
    await writer.write(new Uint8Array(5))
    await writer.complete()
    expect(recording.said).toEqual(['begin', `join 769 ${6 * GIB + 5}`])
    expect(new Set(recording.sizes().slice(0, -1))).toEqual(new Set([8 * MIB]))
    expect(recording.sizes().at(-1)).toBe(5)
    expect(recording.mostAtOnce()).toBe(1)
  }, 60_000)

  test('below one part it is a plain put, also over several requests', async () => {
    const recording = recordingStore()
    const first = open(recording)
    await first.write(new Uint8Array(1000))
    const second = open(recording, await first.suspend())
    await second.write(new Uint8Array(1000))
    await second.complete()
    expect(recording.said).toEqual(['checkpoint 1002', 'put 2000'])
    expect(tails(recording)).toEqual([])
  })

  test('the store is asked nothing for a writer that is opened and suspended', async () => {
    const recording = recordingStore()
    const state = await open(recording, await open(recording).suspend()).suspend()
    expect(recording.said).toEqual([])
    await open(recording, state).complete()
    expect(recording.said).toEqual(['put 0'])
  })

  test('10,000 parts are the most, and a state stays small all the way', async () => {
    const recording = recordingStore()
    let state: WriterState | undefined
    for (let batch = 0; batch < 10; batch++) {
      const writer = open(recording, state, KIB)
      await writer.write(new Uint8Array(1000 * KIB))
      state = await writer.suspend()
      expect(state.length).toBeLessThan(2048)
    }
    const full = open(recording, state, KIB)
    await full.complete()
    expect(recording.sizes().length).toBe(10_000)
    await expect(open(recording, state, KIB).write(new Uint8Array(1))).rejects.toMatchObject({ code: 'blob.not-found' })
  })

  test('one byte more than 10,000 parts is refused, and leaves nothing once aborted', async () => {
    const recording = recordingStore()
    const writer = open(recording, undefined, KIB)
    await writer.write(new Uint8Array(10_000 * KIB))
    await writer.write(new Uint8Array(1))
    await expect(writer.complete()).rejects.toMatchObject({ code: 'request.too-large' })
    await writer.abort()
    expect(recording.said).toEqual(['begin', 'drop'])
  })
})

describe('checkpoints', () => {
  test('at most two are kept, and none after the end', async () => {
    const recording = recordingStore()
    let state: WriterState | undefined
    for (let round = 0; round < 5; round++) {
      const writer = open(recording, state)
      await writer.write(new Uint8Array(3 * MIB))
      state = await writer.suspend()
      expect(tails(recording).length).toBeLessThanOrEqual(2)
    }
    await open(recording, state).complete()
    expect(recording.sizes()).toEqual([8 * MIB, 7 * MIB])
    expect(tails(recording)).toEqual([])
  })

  test('a writer that was not ended leaves the one that it was opened from', async () => {
    const recording = recordingStore()
    const first = open(recording)
    await first.write(new Uint8Array(100))
    const state = await first.suspend()
    for (let round = 0; round < 3; round++) {
      const lost = open(recording, state)
      await lost.write(new Uint8Array(9 * MIB))
      await lost.suspend()
    }
    await open(recording, state).complete()
    expect(recording.said.at(-1)).toBe('put 100')
    expect(tails(recording)).toEqual([])
  })
})

/** The store fails at its n-th call, for every n: what was written before is gone on with, or dropped without a trace. */
describe('faults', () => {
  const failing = (recording: Recording, at: number): Recording => {
    let calls = 0
    const step =
      <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
      async (...args: A): Promise<R> => {
        if (++calls === at) throw new Error('told to fail')
        return call(...args)
      }
    const { put, read, remove, clear, begin, putPart, join, drop } = recording.store
    const store = {
      ...{ put: step(put), read: step(read), remove: step(remove), clear: step(clear) },
      ...{ begin: step(begin), putPart: step(putPart), join: step(join), drop: step(drop) },
    }
    return { ...recording, store }
  }
  const push = async (recording: Recording, state: WriterState) => {
    const writer = open(recording, state)
    try {
      await writer.write(new Uint8Array(17 * MIB))
      await writer.complete()
    } catch (error) {
      await writer.abort().catch(() => {})
      throw error
    }
  }

  test('a suspend that fails keeps the state before, and leaves nothing of a new writer', async () => {
    const recording = recordingStore()
    const fresh = open(failing(recording, 3))
    await fresh.write(new Uint8Array(9 * MIB))
    await expect(fresh.suspend()).rejects.toThrow('told to fail')
    expect([recording.said.at(-1), recording.kept.size]).toEqual(['drop', 0])

    const first = open(recording)
    await first.write(new Uint8Array(100))
    const state = await first.suspend()
    const second = open(failing(recording, 2), state)
    await second.write(new Uint8Array(100))
    await expect(second.suspend()).rejects.toThrow('told to fail')
    await second.abort() // Too late to take anything back.
    await open(recording, state).complete()
    expect(recording.said.at(-1)).toBe('put 100')
  })

  test.each([1, 2, 3, 4, 5, 6, 7])('at call %i', async at => {
    const recording = recordingStore()
    const first = open(recording)
    await first.write(new Uint8Array(10 * MIB))
    const state = await first.suspend()
    const isDone = await push(failing(recording, at), state).then(
      () => true,
      () => false,
    )
    expect(recording.said.at(-1)).toMatch(isDone ? /^join 4 / : /^drop$/)
    if (!isDone) expect(tails(recording)).toEqual([])
  })
})
