import { mkdir, mkdtemp, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getgid, getuid } from 'node:process'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mkdirInRoot, readFileInRoot, resolveInRoot, resolveInRootSync } from './rooted-fs.ts'
import { run } from './run.ts'

let parent: string
let root: string
beforeAll(async () => {
  parent = await realpath(await mkdtemp(join(tmpdir(), 'slipway-rooted-')))
  root = join(parent, 'root')
  await mkdir(join(root, 'usr/lib'), { recursive: true })
  await mkdir(join(root, 'etc'))
  await writeFile(join(root, 'etc/passwd'), 'inside')
  await writeFile(join(parent, 'secret'), 'outside')
  await symlink('usr/lib', join(root, 'lib'))
  await symlink('/etc', join(root, 'absolute'))
  await symlink('../../../../secret', join(root, 'escape'))
  await symlink('/run', join(root, 'dangling'))
  await symlink('circle', join(root, 'circle'))
})
afterAll(() => rm(parent, { recursive: true, force: true }))

describe('resolveInRoot', () => {
  test.each([
    ['/', ''],
    ['.', ''],
    ['etc/passwd', 'etc/passwd'],
    ['/etc/./passwd/', 'etc/passwd'],
    ['../../../etc', 'etc'],
    ['lib/new', 'usr/lib/new'],
    ['lib/../x', 'usr/x'],
    ['absolute/passwd', 'etc/passwd'],
    ['escape', 'secret'],
    ['dangling/lock', 'run/lock'],
    ['etc/passwd/below', 'etc/passwd/below'],
  ])('%s is %s', async (path, expected) => {
    expect(await resolveInRoot(root, path)).toBe(join(root, expected))
  })

  test('a circle of links is refused', async () => {
    await expect(resolveInRoot(root, 'circle/x')).rejects.toMatchObject({
      code: 'host.kernel-refused',
      facts: { errno: 'ELOOP' },
    })
  })

  test('the last link may be kept', () => {
    expect(resolveInRootSync(root, 'lib/', false)).toBe(join(root, 'lib'))
  })

  test('nothing ever leaves the root', async () => {
    const name = fc.constantFrom('..', '.', '', 'a', 'b', 'c', 'etc')
    const path = fc.array(name, { maxLength: 6 }).map(names => names.join('/'))
    const link = fc.record({ from: fc.constantFrom('a', 'b', 'c', 'etc/a'), to: path, isAbsolute: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(link, { maxLength: 4 }), path, async (links, asked) => {
        const own = await mkdtemp(join(parent, 'p-'))
        await mkdir(join(own, 'etc'))
        for (const { from, to, isAbsolute } of links) {
          await symlink((isAbsolute ? '/' : '') + to || '.', join(own, from)).catch(() => {})
        }
        const found = await resolveInRoot(own, asked).catch(error => error.facts.errno)
        expect(found === 'ELOOP' || found === own || found.startsWith(`${own}/`)).toBe(true)
        if (found !== 'ELOOP') {
          const real = await realpath(found).catch(() => found)
          expect(real).toBe(found)
        }
        await rm(own, { recursive: true })
      }),
      { numRuns: 200 },
    )
  })
})

describe('readFileInRoot', () => {
  test('reads through links that stay inside', async () => {
    expect(String(await readFileInRoot(root, '/absolute/passwd', 100))).toBe('inside')
  })

  test('cannot read outside', async () => {
    expect(await readFileInRoot(root, 'escape', 100)).toBeUndefined()
    expect(await readFileInRoot(root, '../secret', 100)).toBeUndefined()
  })

  test('refuses too much, folders and FIFOs, without waiting', async () => {
    await expect(readFileInRoot(root, 'etc/passwd', 5)).rejects.toMatchObject({ code: 'request.too-large' })
    await expect(readFileInRoot(root, 'etc', 5)).rejects.toMatchObject({ facts: { errno: 'EISDIR' } })
    await run('mkfifo', [join(root, 'fifo')])
    await expect(readFileInRoot(root, 'fifo', 5)).rejects.toMatchObject({ code: 'host.kernel-refused' })
  })
})

describe('mkdirInRoot', () => {
  const owner = { uid: getuid?.() ?? 0, gid: getgid?.() ?? 0, mode: 0o751 }

  test('makes parents, through dangling links too, with the mode asked for', async () => {
    expect(await mkdirInRoot(root, '/dangling/a/b', owner)).toBe(join(root, 'run/a/b'))
    for (const path of ['run', 'run/a', 'run/a/b']) {
      expect((await stat(join(root, path))).mode & 0o7777).toBe(0o751)
    }
    expect(await mkdirInRoot(root, '/dangling/a/b', { ...owner, mode: 0o700 })).toBe(join(root, 'run/a/b'))
    expect((await stat(join(root, 'run/a/b'))).mode & 0o7777).toBe(0o751)
  })

  test('a file in the way is no folder', async () => {
    await expect(mkdirInRoot(root, 'etc/passwd/x', owner)).rejects.toMatchObject({ facts: { errno: 'ENOTDIR' } })
    expect(await readFile(join(root, 'etc/passwd'), 'utf8')).toBe('inside')
  })
})
