import { constants, gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DamagedStream } from '#worker/host/decompressor.ts'
import { loadIsal } from '#worker/host/isal.ts'
import { loadZstd } from '#worker/host/libzstd.ts'
import { decompress, gunzip, inflate } from './decompress.ts'

type Unzip = (chunks: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>

const openIsal = await loadIsal()
if (!openIsal) console.log('libisal.so.2 is not installed: gzip is tested with zlib alone.')
const GUNZIPS: [string, Unzip][] = [
  ['zlib', gunzip],
  ...(openIsal ? [['ISA-L', chunks => inflate(openIsal(), chunks)] as [string, Unzip]] : []),
  ['the one of this host', chunks => decompress('gzip', chunks)],
]
const openUnzstd = loadZstd()
if (!openUnzstd) throw new Error('libzstd.so.1 is missing: every Debian has it.')
const unzstd: Unzip = chunks => inflate(openUnzstd(), chunks)
const skippable = Buffer.concat([Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0]), Buffer.from('toc')])

async function* cut(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function unzipped(unzip: Unzip, bytes: Buffer, size = 65_536): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of unzip(cut(bytes, size))) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

const part = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }).map(bytes => Buffer.from(bytes)),
  fc.nat(800_000).map(count => Buffer.from('slipway '.repeat(count / 8))),
  fc.integer({ min: 1, max: 600_000 }).map(length => Buffer.alloc(length, Math.sin(length).toString(36))),
)
const anything = fc.record({
  parts: fc.array(part, { minLength: 1, maxLength: 3 }),
  size: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 50, max: 100_000 })),
})

test.each(GUNZIPS)('gzip by %s: every member counts, however the bytes are cut', async (_, unzip) => {
  const levels = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 4, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(anything, levels, fc.nat(600), async ({ parts, size }, level, padding) => {
      const members = parts.map((bytes, at) => gzipSync(bytes, { level: level[at] ?? 6 }))
      const zipped = Buffer.concat([...members, Buffer.alloc(padding)])
      const got = await unzipped(unzip, zipped, zipped.length > 100_000 ? Math.max(size, 1000) : size)
      expect(got.equals(Buffer.concat(parts))).toBe(true)
    }),
    { numRuns: 25 },
  )
})

test('zstd: every frame counts, however the bytes are cut', async () => {
  await fc.assert(
    fc.asyncProperty(anything, fc.boolean(), async ({ parts, size }, hasChecksum) => {
      const params = { [constants.ZSTD_c_checksumFlag]: hasChecksum ? 1 : 0 }
      const frames = parts.flatMap(bytes => [skippable, zstdCompressSync(bytes, { params })])
      const got = await unzipped(unzstd, Buffer.concat([...frames, skippable]), size)
      expect(got.equals(Buffer.concat(parts))).toBe(true)
    }),
    { numRuns: 25 },
  )
})

const text = Buffer.from('some text that is long enough to be worth a code of its own, or is it? '.repeat(20_000))
const ZIPS: [string, Unzip, Buffer][] = [
  ...GUNZIPS.map(([name, unzip]): [string, Unzip, Buffer] => [`gzip by ${name}`, unzip, gzipSync(text)]),
  ['zstd', unzstd, zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })],
]

test.each(ZIPS)('%s: what is cut off, damaged or something else is refused', async (_, unzip, zipped) => {
  for (const end of [0, 1, 5, 20, zipped.length >> 1, zipped.length - 9, zipped.length - 1]) {
    await expect(unzipped(unzip, zipped.subarray(0, end))).rejects.toThrow(DamagedStream)
  }
  for (const wrong of [Buffer.from('neither'), Buffer.concat([zipped, Buffer.from('neither')])]) {
    await expect(unzipped(unzip, wrong)).rejects.toThrow(DamagedStream)
  }
  await fc.assert(
    fc.asyncProperty(fc.nat(zipped.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const damaged = Buffer.from(zipped)
      damaged[at] = (damaged[at] ?? 0) ^ flip
      // Some bytes of a header mean nothing.
      const got = await unzipped(unzip, damaged).catch(error => {
        expect(error).toBeInstanceOf(DamagedStream)
        return undefined
      })
      if (got) expect(got.equals(text)).toBe(true)
    }),
    { numRuns: 40 },
  )
})

test.each(ZIPS)(
  '%s: a reader may stop anywhere, and what the source throws comes through',
  async (_, unzip, zipped) => {
    for await (const chunk of unzip(cut(zipped, 100))) {
      expect(text.subarray(0, chunk.length).equals(chunk)).toBe(true)
      break
    }
    async function* broken() {
      yield* cut(zipped.subarray(0, 3000), 1000)
      throw new TypeError('terminated')
    }
    await expect(async () => {
      for await (const _ of unzip(broken()));
    }).rejects.toThrow('terminated')
  },
)
