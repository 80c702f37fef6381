import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { listing } from '#test/support/random-tree.ts'
import { mountOverlay, unmount, unmountBelow } from '../host/mount.ts'
import { mountErofs } from '../host/mount-erofs.ts'
import { extract } from './extract.ts'
import type { TarEntry, TarEntryType } from './tar-format.ts'
import { encodeHeader, paddingOf, TAR_END } from './tar-writer.ts'
import { tarOfTree } from './tree-tar.ts'

/** Whatever a tar says, nothing outside of the folder is made, changed or removed. */

let folder: string
beforeAll(() => {
  folder = mkdtempSync('/var/tmp/slipway-hostile-')
})
afterAll(async () => {
  await unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})

const TYPES: TarEntryType[] = ['file', 'folder', 'symlink', 'hardlink', 'character', 'fifo']
/** `@` stands for the folder around the one that is written to. */
const part = fc.constantFrom('..', '.', '', 'a', 'b', 'outside', 'secret', '.wh.a', '.wh.secret', '.wh..wh..opq', 'é')
const path = fc
  .tuple(fc.constantFrom('', '/', './', '@/', '../'), fc.array(part, { maxLength: 4 }))
  .map(([start, parts]) => start + parts.join('/'))
const linkTarget = fc.oneof(
  { weight: 20, arbitrary: path },
  { weight: 1, arbitrary: fc.constantFrom('', 'a\0b', '\0', 'x'.repeat(255), `${'x'.repeat(200)}/`.repeat(21)) },
)
const xattrs = fc.oneof(
  { weight: 20, arbitrary: fc.constant(new Map<string, string>()) },
  { weight: 1, arbitrary: fc.constantFrom('a=b', '%3D', '', 'a\0b').map(name => new Map([[`user.${name}`, 'x']])) },
)
const entry = fc.record({ type: fc.constantFrom(...TYPES), path, linkTarget, mode: fc.nat(0o7777), xattrs })
type Hostile = typeof entry extends fc.Arbitrary<infer T> ? T : never

function encoded({ type, path: name, linkTarget, mode, xattrs }: Hostile, around: string): Buffer {
  const body = type === 'file' ? Buffer.from('hostile') : Buffer.alloc(0)
  const whole: TarEntry = {
    ...{ type, mode, uid: 7, gid: 7, size: body.length, major: 1, minor: 3, xattrs },
    ...{ path: name.replace('@', around), linkTarget: linkTarget.replace('@', around) },
    mtime: { seconds: 1, nanoseconds: 0 },
  }
  return Buffer.concat([encodeHeader(whole), body, paddingOf(body.length)])
}

function outsideOf(around: string): unknown[] {
  const facts = ['outside', 'outside/secret'].map(name => {
    const { mode, uid, gid, mtimeMs, nlink } = lstatSync(join(around, name))
    return { name, mode, uid, gid, mtimeMs, nlink }
  })
  const names = [readdirSync(around), readdirSync(join(around, 'outside'))]
  return [...facts, ...names, readFileSync(join(around, 'outside/secret'), 'utf8')]
}

async function* streamOf(tar: Buffer) {
  yield tar
}

const limits = { maxBytes: 10_000, maxEntries: 100 }
function attempt(kind: 'layer' | 'context' | 'index', root: string, tar: Buffer): Promise<unknown> {
  const files = { tar: join(root, 'tar'), index: join(root, 'index') }
  const request = kind === 'index' ? { kind, limits, ...files } : { kind, limits, folder: root }
  return extract(request, streamOf(tar)).catch((failure: unknown) => failure)
}

test.each(['layer', 'context', 'index'] as const)(
  '%s: nothing outside is reached',
  async kind => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 8 }), async entries => {
        const around = mkdtempSync(join(folder, 'x-'))
        for (const name of ['outside', 'root']) mkdirSync(join(around, name))
        writeFileSync(join(around, 'outside/secret'), 'secret')
        const before = outsideOf(around)
        const tar = Buffer.concat([...entries.map(hostile => encoded(hostile, around)), TAR_END])
        const error = await attempt(kind, join(around, 'root'), tar)
        if (error !== undefined) expect(error).toBeInstanceOf(SlipwayError)
        if (error instanceof SlipwayError) expect(error.code).toMatch(/^(layer|context)\./)
        expect(outsideOf(around)).toEqual(before)
        rmSync(around, { recursive: true })
      }),
      { numRuns: 300 },
    )
  },
  120_000,
)

test('an index refuses what unpacking refuses, and shows what it makes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 12 }), async entries => {
      const around = mkdtempSync(join(folder, 'x-'))
      const [unpacked, indexed, shown] = ['unpacked', 'indexed', 'shown'].map(name => join(around, name)) as [
        string,
        string,
        string,
      ]
      for (const path of [unpacked, indexed, shown]) mkdirSync(path)
      const tar = Buffer.concat([...entries.map(hostile => encoded(hostile, around)), TAR_END])
      const errors = [await attempt('layer', unpacked, tar), await attempt('index', indexed, tar)]
      const codes = errors.map(error => (error instanceof SlipwayError ? error.code : error))
      expect(codes[1]).toEqual(codes[0])
      if (codes[0] === undefined) {
        mountErofs({ tar: join(indexed, 'tar'), index: join(indexed, 'index'), target: shown }, 'file')
        expect(listing(shown)).toEqual(listing(unpacked))
        await unmount(shown)
      }
      rmSync(around, { recursive: true })
    }),
    { numRuns: 500 },
  )
}, 120_000)

function fileOf(more: Partial<TarEntry> & { path: string }, body = ''): Buffer {
  const bytes = Buffer.from(body)
  const plain = { type: 'file', mode: 0o644, uid: 0, gid: 0, linkTarget: '', major: 0, minor: 0 } as const
  const entry = { ...plain, size: bytes.length, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: new Map(), ...more }
  return Buffer.concat([encodeHeader(entry), bytes, paddingOf(bytes.length)])
}

function place(): string {
  return mkdtempSync(join(folder, 'y-'))
}

const refused = { code: 'layer.invalid' }

test.each(['layer', 'index'] as const)('%s: a map of holes with a negative length is refused', async kind => {
  // The old GNU format: a header of type S with extents in base 256, where the top bits make a number negative.
  const block = fileOf({ path: 'sparse' }, 'x'.repeat(512))
  block.write('S', 156)
  block.write('ustar  \0', 257, 'latin1')
  const number = (value: bigint, at: number) => {
    const bytes = Buffer.alloc(12)
    bytes.writeBigInt64BE(value, 4)
    bytes.fill(value < 0n ? 0xff : 0, 0, 4)
    bytes[0] = value < 0n ? 0xff : 0x80
    bytes.copy(block, at)
  }
  const far = 2n ** 40n
  const extents = [0n, -far, -far, far, 0n, 512n]
  extents.forEach((value, index) => void number(value, 386 + index * 12))
  number(512n, 483)
  block.fill(' ', 148, 156)
  const sum = block.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  expect(await attempt(kind, place(), Buffer.concat([block, TAR_END]))).toMatchObject(refused)
})

test('a name upwards that stays inside is as if it were written without, whatever link it leads through', async () => {
  const folders = ['unpacked', 'plain'].map(name => join(place(), name))
  const link = { type: 'symlink', linkTarget: '/elsewhere', size: 0 } as const
  const entries = (name: string) => [fileOf({ path: 'etc', ...link }), fileOf({ path: name }, 'bytes'), TAR_END]
  for (const [at, name] of ['etc/../a/b/../x', 'a/x'].entries()) {
    mkdirSync(folders[at] ?? '')
    expect(await attempt('layer', folders[at] ?? '', Buffer.concat(entries(name)))).toBeUndefined()
  }
  const [unpacked = '', plain = ''] = folders
  expect(listing(unpacked)).toEqual(listing(plain))
  expect(readFileSync(join(unpacked, 'a/x'), 'utf8')).toBe('bytes')
})

test.each(['layer', 'context'] as const)('%s: folders that no entry names have a bound, too', async kind => {
  const path = (start: string) => `${start}/${'d/'.repeat(500)}f`
  const tar = Buffer.concat([fileOf({ path: path('a') }), TAR_END])
  const error = await attempt(kind, place(), tar)
  expect(error).toMatchObject({ code: `${kind}.invalid`, message: expect.stringContaining('more folders than') })
})

test('deep folders that no entry names take time by their number, not by its square', async () => {
  const timeOf = async (paths: number, depth: number) => {
    const entries = Array.from({ length: paths }, (_, index) => fileOf({ path: `${index}/${'d/'.repeat(depth)}f` }))
    const root = place()
    const request = { kind: 'layer', limits: { maxBytes: 10_000, maxEntries: 100_000 }, folder: root } as const
    const begin = performance.now()
    await extract(request, streamOf(Buffer.concat([...entries, TAR_END])))
    const took = performance.now() - begin
    expect(lstatSync(join(root, `${paths - 1}/${'d/'.repeat(depth)}f`)).isFile()).toBe(true)
    return took
  }
  // As many folders both times. By the square it would be 40 times as long, on any machine.
  expect(await timeOf(4, 2000)).toBeLessThan(10 * (await timeOf(160, 50)))
}, 60_000)

test('what holds for all entries is bounded: it is looked at for each', async () => {
  const comment = Buffer.from(`${'comment='.padEnd(1000, 'x')}\n`)
  const record = (text: string) => `${String(text.length + 5)} ${text}`
  const global = (text: string) => {
    const header = fileOf({ path: 'global' }, text)
    header.write('g', 156)
    header.fill(' ', 148, 156)
    const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
    return header
  }
  const unknown = Array.from({ length: 200 }, (_, index) => record(`k${index}${comment}`)).join('')
  expect(await attempt('layer', place(), Buffer.concat([global(unknown), fileOf({ path: 'a' }), TAR_END]))).toBe(
    undefined,
  )
  const attributes = Array.from({ length: 200 }, (_, index) => record(`SCHILY.xattr.user.${index}${comment}`)).join('')
  const tar = Buffer.concat([global(attributes), fileOf({ path: 'a' }), TAR_END])
  expect(await attempt('layer', place(), tar)).toMatchObject(refused)
})

test.each(['layer', 'index'] as const)('%s: no entry makes a whiteout but one of its name', async kind => {
  const linked = [fileOf({ path: '.wh.a' }), fileOf({ path: 'b', type: 'hardlink', linkTarget: 'a' }), TAR_END]
  expect(await attempt(kind, place(), Buffer.concat(linked))).toMatchObject(refused)
  const device = fileOf({ path: 'device', type: 'character', major: 4096, minor: 0 })
  expect(await attempt(kind, place(), Buffer.concat([device, TAR_END]))).toMatchObject(refused)
})

const longName = 'x'.repeat(300)
test.each<[string, (Partial<TarEntry> & { path: string })[], string, string]>([
  [
    'a hard link to nothing',
    [{ path: 'b', type: 'hardlink', linkTarget: 'low/a' }],
    'b',
    'links to "low/a", which is not',
  ],
  [
    'a hard link to itself',
    [{ path: 'b' }, { path: 'b', type: 'hardlink', linkTarget: './b' }],
    'b',
    'links to itself',
  ],
  [
    'a hard link to a folder',
    [{ path: 'a/b' }, { path: 'c', type: 'hardlink', linkTarget: 'a' }],
    'c',
    'links to a folder',
  ],
  [
    'a hard link in its file’s place',
    [{ path: 'a/b' }, { path: 'a', type: 'hardlink', linkTarget: 'a/b' }],
    'a',
    'takes the place',
  ],
  [
    'a hard link upwards',
    [{ path: 'b', type: 'hardlink', linkTarget: '../a' }],
    'b',
    'links to "../a", which leads out',
  ],
  [
    'a hard link to a long name',
    [{ path: 'b', type: 'hardlink', linkTarget: longName }],
    'b',
    'links to a name with a part',
  ],
  ['a long name', [{ path: longName }], longName.slice(0, 100), 'has a name with a part of more than 255 bytes'],
  ['a file below a file', [{ path: 'a' }, { path: 'a/b' }], 'a/b', 'lies below something that is not a folder'],
  ['a link to nothing', [{ path: 'a', type: 'symlink', linkTarget: '' }], 'a', 'is a link that says nothing'],
])('unpacked or indexed, an error names the entry and what is wrong: %s', async (_what, entries, name, why) => {
  const tar = Buffer.concat([...entries.map(entry => fileOf(entry)), TAR_END])
  for (const kind of ['layer', 'index'] as const) {
    const error = await attempt(kind, place(), tar)
    const message = expect.stringContaining(`The tar's entry "${name}" ${why}`)
    expect(error).toMatchObject({ code: 'layer.invalid', message, facts: { entry: name } })
  }
})

test('an attribute that a file system cannot hold is the layer’s fault, and the disk is not full', async () => {
  const entry = fileOf({ path: 'a', xattrs: new Map([['user.big', 'x'.repeat(60_000)]]) })
  const error = await attempt('layer', place(), Buffer.concat([entry, TAR_END]))
  if (error !== undefined) expect(error).toMatchObject(refused)
})

test('a folder of half a million files that a file replaces', async () => {
  const names = Array.from({ length: 200_000 }, (_, index) => fileOf({ path: `a/${index}` }))
  const tar = Buffer.concat([...names, fileOf({ path: 'a' }), TAR_END])
  const root = place()
  const files = { tar: join(root, 'tar'), index: join(root, 'index') }
  await extract({ kind: 'index', limits: { maxBytes: 1e9, maxEntries: 300_000 }, ...files }, streamOf(tar))
  mkdirSync(join(root, 'shown'))
  mountErofs({ ...files, target: join(root, 'shown') }, 'file')
  expect(readdirSync(join(root, 'shown'))).toEqual(['a'])
  await unmount(join(root, 'shown'))
}, 60_000)

test('files of two layers that have one number are two files in an export', async () => {
  const root = place()
  const lower: string[] = []
  for (const [first, second] of [
    ['a', 'b'],
    ['c', 'd'],
  ] as const) {
    const at = join(root, first)
    for (const path of [at, join(at, 'shown')]) mkdirSync(path)
    const files = { tar: join(at, 'tar'), index: join(at, 'index') }
    const entries = [
      fileOf({ path: first }, `of ${first}`),
      fileOf({ path: second, type: 'hardlink', linkTarget: first }),
    ]
    await extract({ kind: 'index', limits, ...files }, streamOf(Buffer.concat([...entries, TAR_END])))
    mountErofs({ ...files, target: join(at, 'shown') }, 'file')
    lower.push(join(at, 'shown'))
  }
  const [upper, work, target, out] = ['upper', 'work', 'target', 'out'].map(name => join(root, name)) as string[] as [
    string,
    string,
    string,
    string,
  ]
  for (const path of [upper, work, target, out]) mkdirSync(path)
  mountOverlay({ lower, upper, work, target })
  await extract({ kind: 'layer', limits, folder: out }, tarOfTree(target))
  expect(['a', 'b', 'c', 'd'].map(name => readFileSync(join(out, name), 'utf8'))).toEqual([
    'of a',
    'of a',
    'of c',
    'of c',
  ])
  await unmount(target)
})
