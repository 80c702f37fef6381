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

test.each<[string, Partial<TarEntry>[], string]>([
  ['a device', [{ type: 'character' }], 'context.unsafe-path'],
  ['an absolute link', [{ type: 'symlink', linkTarget: '/etc/passwd' }], 'context.unsafe-path'],
  ['too many entries', [{}, { path: 'y' }, { path: 'z' }], 'request.too-large'],
])('%s is refused with advice that helps: an ignore file is not read yet', async (_, entries, code) => {
  const tar = Buffer.concat([...entries.map(entry => encodeHeader({ ...plain, ...entry })), TAR_END])
  const own = mkdtempSync(join(folder, 'x-'))
  const stream = (async function* () {
    yield tar
  })()
  const attempt = extractContext(stream, own, { maxBytes: 1000, maxEntries: 2 })
  await expect(attempt).rejects.toMatchObject({
    code,
    message: expect.stringMatching(/tar.*\.dockerignore comes too late/),
  })
})
