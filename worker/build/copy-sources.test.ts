import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findSources } from './copy-sources.ts'
import { digestSources } from './digest-sources.ts'

const never = new AbortController().signal

function folderWith(...files: readonly string[]) {
  const root = mkdtempSync(join(tmpdir(), 'slipway-sources-'))
  for (const file of files) {
    mkdirSync(join(root, file, '..'), { recursive: true })
    writeFileSync(join(root, file), file)
  }
  return { root, [Symbol.dispose]: () => rmSync(root, { recursive: true }) }
}

const namesIn = (root: string, ...patterns: string[]) =>
  findSources({ path: root, name: 'here' }, patterns).map(({ name }) => name)

test('patterns go through folders, each in the order of its names', () => {
  using folder = folderWith('b/x.jar', 'a/y.jar', 'a/z.txt', '.hidden')
  expect(namesIn(folder.root, '*/*.jar', '.hid*')).toEqual(['/a/y.jar', '/b/x.jar', '/.hidden'])
  expect(namesIn(folder.root, '../../a')).toEqual(['/a'])
})

test('a source that is nowhere is named; a pattern may find nothing, if it is one', () => {
  using folder = folderWith('a')
  expect(() => namesIn(folder.root, 'a', 'b')).toThrow('"b" is not in here')
  expect(namesIn(folder.root, 'a', 'b*', '*/c?', '**/[x]')).toEqual(['/a'])
  for (const none of ['[b', 'b\\*']) expect(() => namesIn(folder.root, none)).toThrow('is not in here')
})

test('a source that is nowhere comes with what is near, or why it is left out', () => {
  using folder = folderWith('src/main.ts', 'src/view.ts', 'package.json')
  const root = {
    path: folder.root,
    name: 'here',
    ignoredBy: (path: string) => (path === 'x.log' ? '.dockerignore' : undefined),
  }
  const find = (pattern: string) => () => findSources(root, [pattern])
  expect(find('scr/main.ts')).toThrow('did you mean src')
  expect(find('src/mian.ts')).toThrow('did you mean src/main.ts')
  expect(find('src/other')).toThrow('src has main.ts, view.ts')
  expect(find('nothing-like-it')).toThrow('it has package.json, src')
  expect(find('x.log')).toThrow('.dockerignore leaves it out')
})

test('a link leads nowhere out of its root', () => {
  using folder = folderWith('etc/passwd')
  symlinkSync('/etc', join(folder.root, 'link'))
  const [source] = findSources({ path: folder.root, name: 'here' }, ['link/passwd'])
  expect(source?.path).toBe(join(folder.root, 'etc/passwd'))
})

test('the digest is of names, modes and contents, whatever the times', async () => {
  using folder = folderWith('d/a', 'd/b')
  const digest = () => digestSources(findSources({ path: folder.root, name: 'here' }, ['d']), never)
  const before = await digest()
  utimesSync(join(folder.root, 'd/a'), 1, 1)
  expect(await digest()).toBe(before)
  writeFileSync(join(folder.root, 'd/a'), 'other')
  expect(await digest()).not.toBe(before)
})

test('names that are not UTF-8 are told apart', async () => {
  using folder = folderWith()
  const digests = [0xe8, 0xe9].map(async last => {
    const at = Buffer.concat([Buffer.from(`${folder.root}/caf`), Buffer.from([last])])
    writeFileSync(at, '')
    const digest = await digestSources(findSources({ path: folder.root, name: 'here' }, ['caf*']), never)
    rmSync(at)
    return digest
  })
  const [one, other] = await Promise.all(digests)
  expect(one).not.toBe(other)
})
