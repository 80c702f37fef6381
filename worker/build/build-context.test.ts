import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { applyIgnoreFile } from './build-context.ts'

const never = new AbortController().signal

function contextWith(ignored: string, files: readonly (string | Buffer)[]) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-context-'))
  for (const file of files) {
    const at = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(file)])
    mkdirSync(dirname(at.toString('latin1')), { recursive: true })
    writeFileSync(at, '')
  }
  writeFileSync(join(folder, '.dockerignore'), ignored)
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}

function filesOf(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile() && entry.name !== '.dockerignore')
  return files.map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1)).sort()
}

test.each([
  ['*\n!src\n!keep/x\n', ['a', 'src/a/b', 'keep/x', 'keep/y'], ['keep/x', 'src/a/b']],
  ['**/*.md\n!README.md\n', ['README.md', 'x/README.md', 'x/y/z.md', 'a'], ['README.md', 'a']],
  ['node_modules\n!node_modules/keep/a\n', ['node_modules/keep/a', 'node_modules/z'], ['node_modules/keep/a']],
  ['/abs\ntmp?\n# a\n  sp  \n', ['abs/q', 'x/abs', 'tmp1', 'sp', 'a'], ['a', 'x/abs']],
  ['*\n!*.go\n!**/*.go\n', ['a.go', 'b/c.go', 'b/d.txt'], ['a.go', 'b/c.go']],
  ['foo/bar\n', ['foo/bar/a', 'x/foo/bar'], ['x/foo/bar']],
  ['**/.env\nbuild/\n!build/keep.txt\n', ['a/.env', '.env', 'build/a', 'build/keep.txt'], ['build/keep.txt']],
  ['a+(b)|c\n', ['a+(b)|c', 'aab'], ['aab']],
])('%j leaves what Docker leaves', async (ignored, files, left) => {
  using context = contextWith(ignored, files)
  await applyIgnoreFile(context.folder, 'Dockerfile', never)
  expect(filesOf(context.folder)).toEqual(left)
})

test('a pattern of many stars takes no time', async () => {
  using context = contextWith(`${'*a'.repeat(50)}b\n`, ['a'.repeat(255)])
  const startedAt = performance.now()
  await applyIgnoreFile(context.folder, 'Dockerfile', never)
  expect(performance.now() - startedAt).toBeLessThan(1000)
})

test('names that are not UTF-8 are left out like any other', async () => {
  using context = contextWith('caf*\n', [Buffer.from([0x63, 0x61, 0x66, 0xe9]), 'a'])
  await applyIgnoreFile(context.folder, 'Dockerfile', never)
  expect(filesOf(context.folder)).toEqual(['a'])
})

test('a long walk pauses, and ends when it is canceled', async () => {
  const files = Array.from({ length: 200 }, (_, at) => `f${at}`)
  using context = contextWith(Array.from({ length: 1000 }, (_, at) => `x${at}\n`).join(''), files)
  const canceled = new AbortController()
  const walk = applyIgnoreFile(context.folder, 'Dockerfile', canceled.signal)
  setImmediate(() => canceled.abort(new Error('canceled')))
  await expect(walk).rejects.toThrow('canceled')
})

test.each(['a\n[z-a]\n', `a\n${'x'.repeat(4097)}\n`, 'a\n'.repeat(10_001)])(
  'too much, or no pattern, is refused',
  async ignored => {
    using context = contextWith(ignored, [])
    const fault = await applyIgnoreFile(context.folder, 'Dockerfile', never).catch((error: unknown) => error)
    expect(fault).toMatchObject({ code: 'build.dockerfile-invalid', facts: { file: '.dockerignore' } })
  },
)
