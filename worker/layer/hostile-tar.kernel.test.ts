import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { listing } from '#test/support/random-tree.ts'
import { unmount, unmountBelow } from '../host/mount.ts'
import { mountErofs } from '../host/mount-erofs.ts'
import { extract } from './extract.ts'
import type { TarEntry, TarEntryType } from './tar-format.ts'
import { encodeHeader, paddingOf, TAR_END } from './tar-writer.ts'

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
      // On a disk, an implied folder takes the group of a set-group-ID one.
      const plain = entries.map(hostile => ({ ...hostile, mode: hostile.mode & ~0o2000 }))
      const tar = Buffer.concat([...plain.map(hostile => encoded(hostile, around)), TAR_END])
      const errors = [await attempt('layer', unpacked, tar), await attempt('index', indexed, tar)]
      const codes = errors.map(error => (error instanceof SlipwayError ? error.code : error))
      expect(codes[1]).toEqual(codes[0])
      if (codes[0] === undefined) {
        mountErofs({ tar: join(indexed, 'tar'), index: join(indexed, 'index'), target: shown }, 'file')
        expect(withoutTimes(shown)).toEqual(withoutTimes(unpacked))
        await unmount(shown)
      }
      rmSync(around, { recursive: true })
    }),
    { numRuns: 500 },
  )
}, 120_000)

/** Folders that the tar does not name, and whiteouts, have the time of their making on a disk. */
const withoutTimes = (root: string) => listing(root).map(line => line.replace(/ (0|\d{18,19})(?= as )/, ''))
