import { Duplex, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { constants, createZstdDecompress, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cutAtFrames } from './zstd-frames.ts'

const skippable = Buffer.concat([Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0]), Buffer.from('toc')])
const frame = (text: string, hasChecksum: boolean) =>
  zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: hasChecksum ? 1 : 0 } })

function cut(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size))
}

function unzipped(chunks: Buffer[]): Promise<Buffer> {
  const frames = Readable.from(chunks, { objectMode: false }).compose(Duplex.from(cutAtFrames))
  return buffer(frames.compose(createZstdDecompress()))
}

test('every frame counts, however the bytes are cut', async () => {
  const text = fc.oneof(
    fc.string(),
    fc.nat(300_000).map(count => 'slipway '.repeat(count)),
  )
  const anything = fc.record({ texts: fc.array(text, { maxLength: 5 }), size: fc.integer({ min: 1, max: 5000 }) })
  await fc.assert(
    fc.asyncProperty(anything, fc.boolean(), async ({ texts, size }, hasChecksum) => {
      const frames = texts.flatMap(part => [skippable, frame(part, hasChecksum)])
      const got = await unzipped(cut(Buffer.concat([...frames, skippable]), size))
      expect(got.equals(Buffer.from(texts.join('')))).toBe(true)
    }),
    { numRuns: 40 },
  )
})

test('what is no frame is left for the decompressor to refuse', async () => {
  await expect(unzipped([Buffer.concat([frame('good', true), Buffer.from('no frame')])])).rejects.toThrow()
  await expect(unzipped([Buffer.from('no frame at all')])).rejects.toThrow()
})
