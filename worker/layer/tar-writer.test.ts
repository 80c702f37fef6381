import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { TarEntry } from './tar-format.ts'
import { TarReader } from './tar-reader.ts'
import { encodeHeader, TAR_END } from './tar-writer.ts'

/** What is written is read again as it was, through pax records where ustar has no room. */

function read(tar: Buffer, pieces: number): TarEntry[] {
  const entries: TarEntry[] = []
  const reader = new TarReader(
    { entry: entry => void entries.push(entry), data: () => {}, end: () => {} },
    { invalid: 'layer.invalid' },
  )
  for (let at = 0; at < tar.length; at += pieces) reader.write(tar.subarray(at, at + pieces))
  reader.finish()
  return entries
}

const latin1 = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map(bytes => Buffer.from(bytes).toString('latin1').replaceAll('\0', 'x'))
const name = latin1(1, 255).map(text => text.replaceAll('/', 'x'))
/** Lengths around those where a header or the length of a record gets longer; names of a file end in no slash. */
const length = fc.oneof(
  fc.constantFrom(1, 99, 100, 101, 155, 255, 256, 979, 4094, 4095),
  fc.integer({ min: 1, max: 4095 }),
)
const path = fc
  .tuple(name, length)
  .map(([text, size]) => `${'d/'.repeat(size)}${text}`.slice(-size).replace(/\/$/, 'x'))
const id = fc.oneof(fc.constantFrom(0, 0o7777777, 0o10000000, 0xfffffffe), fc.nat(0xfffffffe))
const value = fc.oneof(
  latin1(0, 200),
  fc.constantFrom(1, 60, 61, 62, 960, 961, 9960, 65_535).map(size => '=\n\xff'.repeat(size).slice(0, size)),
)
const entry: fc.Arbitrary<TarEntry> = fc.record({
  ...{ type: fc.constantFrom('symlink', 'hardlink', 'folder', 'fifo', 'character'), path, mode: fc.nat(0o7777) },
  ...{ uid: id, gid: id, size: fc.constant(0), linkTarget: path, major: fc.nat(0o7777777), minor: fc.nat(0o7777777) },
  mtime: fc.record({
    seconds: fc.oneof(fc.constantFrom(-1, 0, 0o77777777777, 0o100000000000), fc.integer({ min: -1e12, max: 1e12 })),
    nanoseconds: fc.oneof(fc.constantFrom(0, 1, 999_999_999), fc.nat(999_999_999)),
  }),
  xattrs: fc.dictionary(latin1(1, 255), value, { maxKeys: 4 }).map(found => new Map(Object.entries(found))),
})

test('entries of all kinds, with names as long as Linux has them and large values', () => {
  fc.assert(
    fc.property(
      fc.array(entry, { minLength: 1, maxLength: 5 }),
      fc.constantFrom(100, 512, 10_000),
      (entries, pieces) => {
        const tar = Buffer.concat([...entries.map(encodeHeader), TAR_END])
        expect(tar.length % 512).toBe(0)
        expect(read(tar, pieces)).toEqual(entries)
      },
    ),
  )
})

test.each([0, 1, 8 * 1024 ** 3 - 1, 8 * 1024 ** 3, 2 ** 53 - 1])('the size of a file of %d bytes', size => {
  const file: TarEntry = {
    ...{ type: 'file', path: 'a', mode: 0o644, uid: 0, gid: 0, size, linkTarget: '', major: 0, minor: 0 },
    ...{ mtime: { seconds: 0, nanoseconds: 0 }, xattrs: new Map() },
  }
  const entries: TarEntry[] = []
  const reader = new TarReader(
    { entry: found => void entries.push(found), data: () => {}, end: () => {} },
    { invalid: 'layer.invalid' },
  )
  reader.write(encodeHeader(file))
  expect(entries).toEqual([file])
})
