import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
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
