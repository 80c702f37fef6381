import { expect, test } from 'vitest'
import { copiesOf, mapChunks } from './chunk-map.ts'
import { HOLE } from './erofs-format.ts'

const MIB = 1024 ** 2
const devices = { copied: 0, tar: 1 } as const

test('data at whole blocks is where the tar has it, and the rest is holes', () => {
  const extents = [
    { offset: 4096, length: 4096 },
    { offset: 16_384, length: 100 },
  ]
  const map = mapChunks(16_484, { position: 1024, extents }, 3)
  expect(map.bits).toBe(12)
  expect([...map.blocks]).toEqual([HOLE, 2, HOLE, HOLE, 10])
  expect([map.devices[1], map.devices[4]]).toEqual([devices.tar, devices.tar])
  expect(map.copiedBlocks).toBe(0)
})

test('a file without any data is one hole, whatever its size', () => {
  const map = mapChunks(40 * 1024 * MIB, { position: 512, extents: [] }, 3)
  expect([...map.blocks]).toEqual([HOLE])
})

test('a chunk of which the tar has parts is copied', () => {
  const extents = [
    { offset: 100, length: 50 },
    { offset: 300, length: 20 },
    { offset: 1024, length: 512 },
  ]
  const map = mapChunks(2048, { position: 512, extents }, 7)
  expect(map.bits).toBe(9)
  // The third stretch begins in the tar at 512 + 70, where no block begins.
  expect([...map.blocks]).toEqual([7, HOLE, 8, HOLE])
  expect(map.copiedBlocks).toBe(2)
  const at = (offset: number, length: number) =>
    [...copiesOf(map, Buffer.alloc(length), offset)].map(copy => [copy.at, copy.bytes.length])
  expect(at(100, 50)).toEqual([[7 * 512 + 100, 50]])
  expect(at(1024, 512)).toEqual([[8 * 512, 512]])
  expect(at(600, 10)).toEqual([])
})

test('a map is bounded: a file with fine holes gets larger chunks, which are copied', () => {
  const extents = Array.from({ length: 1000 }, (_, index) => ({ offset: index * MIB, length: 512 }))
  const map = mapChunks(1000 * MIB, { position: 512, extents }, 3)
  expect(map.blocks.length).toBeLessThanOrEqual(2 ** 18)
  expect(map.copiedBlocks).toBe(1000 * (2 ** map.bits / 512))
})
