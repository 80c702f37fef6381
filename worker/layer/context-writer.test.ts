import { execFileSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { linkSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { extractContext } from './context.ts'
import type { TarEntry } from './tar-format.ts'
import { encodeHeader, TAR_END } from './tar-writer.ts'

const folder = mkdtempSync(join(tmpdir(), 'slipway-context-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const plain: TarEntry = {
  ...{ type: 'file', path: 'x', mode: 0o644, uid: 0, gid: 0, size: 0, linkTarget: '', major: 1, minor: 3 },
  ...{ mtime: { seconds: 0, nanoseconds: 0 }, xattrs: new Map() },
}

async function* streamOf(tar: Buffer) {
  yield tar
}

test.each<[string, Partial<TarEntry>[], string]>([
  ['a device', [{ type: 'character' }], 'context.unsafe-path'],
  ['an absolute link', [{ type: 'symlink', linkTarget: '/etc/passwd' }], 'context.unsafe-path'],
  ['too many entries', [{}, { path: 'y' }, { path: 'z' }], 'request.too-large'],
])('%s is refused with advice that helps: an ignore file is not read yet', async (_, entries, code) => {
  const tar = Buffer.concat([...entries.map(entry => encodeHeader({ ...plain, ...entry })), TAR_END])
  const own = mkdtempSync(join(folder, 'x-'))
  const attempt = extractContext(streamOf(tar), own, { maxBytes: 1000, maxEntries: 2 })
  await expect(attempt).rejects.toMatchObject({
    code,
    message: expect.stringMatching(/tar.*\.dockerignore comes too late/),
  })
})

test.each(['xz', 'bzip2'])(
  'an upload in %s is refused by that name, with what to do; whatever it comes in',
  async program => {
    const zipped = execFileSync(program, ['-c'], { input: Buffer.concat([encodeHeader(plain), TAR_END]) })
    const bytewise = (async function* () {
      for (const byte of zipped) yield Buffer.of(byte)
    })()
    for (const stream of [streamOf(zipped), bytewise]) {
      const attempt = extractContext(stream, mkdtempSync(join(folder, 'x-')), { maxBytes: 1000, maxEntries: 2 })
      const message = expect.stringMatching(new RegExp(`compressed with ${program}.*gzip and zstd.*${program} -d`))
      await expect(attempt).rejects.toMatchObject({ code: 'context.invalid', message })
    }
  },
)

test('a tar whose first name begins as an archive in bzip2 does is a tar', async () => {
  const tar = Buffer.concat([encodeHeader({ ...plain, path: 'BZh9-notes' }), TAR_END])
  await extractContext(streamOf(tar), mkdtempSync(join(folder, 'x-')), { maxBytes: 1000, maxEntries: 2 })
})

const uploadOf = (...entries: (Partial<TarEntry> & { text?: string })[]) => {
  const blocks = entries.flatMap(({ text = '', ...entry }) => {
    const body = Buffer.alloc(Math.ceil(text.length / 512) * 512)
    body.write(text)
    return [encodeHeader({ ...plain, ...entry, size: text.length }), body]
  })
  return (async function* () {
    yield Buffer.concat([...blocks, TAR_END])
  })()
}
const limits = { maxBytes: 1000, maxEntries: 100 }

test('an upload over others replaces names and takes them away, and writes into no file that has other names', async () => {
  const own = mkdtempSync(join(folder, 'over-'))
  const kept = mkdtempSync(join(folder, 'kept-'))
  const dir = { type: 'folder', mode: 0o755 } as const
  await extractContext(
    uploadOf({ path: 'd', ...dir }, { path: 'd/a', text: 'a' }, { path: 'b', text: 'b' }, { path: 'c', text: 'c' }),
    own,
    limits,
  )
  linkSync(join(own, 'b'), join(kept, 'b'))
  const over = uploadOf(
    { path: 'b', text: 'new' },
    { path: '.wh.d' },
    { path: 'gone/.wh.x' },
    { path: 'e/f', text: 'f' },
  )
  await extractContext(over, own, limits, { isOver: true })
  expect(readdirSync(own).sort()).toEqual(['b', 'c', 'e'])
  expect(readFileSync(join(own, 'b'), 'utf8')).toBe('new')
  expect(readFileSync(join(kept, 'b'), 'utf8')).toBe('b')
})

test.each([['.wh.'], ['.wh...'], ['.wh..'], ['d/.wh..wh..opq']])('over others, %s names nothing', async path => {
  const own = mkdtempSync(join(folder, 'mark-'))
  await expect(extractContext(uploadOf({ path }), own, limits, { isOver: true })).rejects.toMatchObject({
    code: 'context.invalid',
  })
})

test('what is taken away is never outside, whatever links there are', async () => {
  const outside = mkdtempSync(join(folder, 'outside-'))
  writeFileSync(join(outside, 'x'), '')
  const own = mkdtempSync(join(folder, 'link-'))
  symlinkSync(outside, join(own, 'way'))
  await extractContext(uploadOf({ path: 'way/.wh.x' }), own, limits, { isOver: true })
  expect(readdirSync(outside)).toEqual(['x'])
})

test('in a whole upload .wh.NAME is a file like others', async () => {
  const own = mkdtempSync(join(folder, 'whole-'))
  await extractContext(uploadOf({ path: '.wh.x', text: 'x' }), own, limits)
  expect(readdirSync(own)).toEqual(['.wh.x'])
})

test('random bytes are said to be no tar, whatever number would stand where a tar has one', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const bytes = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(Buffer.alloc(20_000))
    const own = mkdtempSync(join(folder, 'r-'))
    const attempt = extractContext(streamOf(bytes), own, { maxBytes: 100_000, maxEntries: 2 })
    await expect(attempt, `seed ${seed}`).rejects.toMatchObject({
      ...{ code: 'context.invalid', message: expect.stringMatching(/not a tar/) },
    })
  }
})
