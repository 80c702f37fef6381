import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { zstdCompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { openSavedTar } from './saved-tar.ts'

const never = new AbortController().signal
const tar = Buffer.concat([randomBytes(300_000), Buffer.alloc(300_000)])
const blob = zstdCompressSync(tar)
const diffId = digestFromHex('0'.repeat(64))
const digest = digestFromHex(createHash('sha256').update(blob).digest('hex'))
const saved = { digest, size: blob.length, diffId, unpackedBytes: tar.length }

function inPieces(bytes: Buffer): Readable {
  const pieces = Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, at) =>
    bytes.subarray(at * 65_536, (at + 1) * 65_536),
  )
  return Readable.from(pieces, { objectMode: false })
}

async function read(bytes: Buffer, signal = never): Promise<Buffer> {
  await using opened = await openSavedTar(saved, async () => inPieces(bytes), signal)
  const all: Buffer[] = []
  for await (const chunk of opened.chunks(() => {})) all.push(Buffer.from(chunk))
  await opened.verify()
  return Buffer.concat(all)
}

test('what was saved comes back, and how much has come is told', async () => {
  expect((await read(blob)).equals(tar)).toBe(true)
  const told: number[] = []
  await using opened = await openSavedTar(saved, async () => inPieces(blob), never)
  await buffer(opened.chunks(bytes => told.push(bytes)))
  expect(told.at(-1)).toBe(blob.length)
})

test.each([
  [
    'a bit that fell over',
    Buffer.concat([blob.subarray(0, 1000), Buffer.from([~(blob[1000] ?? 0) & 0xff]), blob.subarray(1001)]),
  ],
  ['an end that is missing', blob.subarray(0, -1)],
  ['more behind the end', Buffer.concat([blob, Buffer.from('more')])],
  ['another tar', zstdCompressSync(Buffer.alloc(1000))],
  ['no zstd', randomBytes(blob.length)],
  ['nothing', Buffer.alloc(0)],
])('%s is no saved tar', async (_name, bytes) => {
  await expect(read(bytes)).rejects.toThrow()
})

test('a cancel ends it while nothing comes', async () => {
  const canceling = new AbortController()
  const silent = new Readable({ read: () => {} })
  await using opened = await openSavedTar(saved, async () => silent, canceling.signal)
  const reading = buffer(opened.chunks(() => {}))
  canceling.abort(new Error('canceled'))
  await expect(reading).rejects.toThrow('canceled')
})
