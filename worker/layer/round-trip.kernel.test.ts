import { execFileSync } from 'node:child_process'
import {
  closeSync,
  createReadStream,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { createGunzip } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { allInFolder } from '#test/support/own-folder.ts'
import { item, listing, owned, plant } from '#test/support/random-tree.ts'
import { errnoOf } from '../host/kernel-error.ts'
import { unmount, unmountBelow } from '../host/mount.ts'
import { mountErofs } from '../host/mount-erofs.ts'
import { mountMemory } from '../host/mount-memory.ts'
import { lgetxattr, lsetxattr } from '../host/syscalls.ts'
import { changesOf } from './changes.ts'
import { indexLayer } from './index-layer.ts'
import { packLayer } from './pack.ts'
import { tarOfTree } from './tree-tar.ts'
import { unpackLayer } from './unpack.ts'

/** Packing an upper folder and unpacking the layer again gives the same tree, whatever is in it. */

let folder: string
allInFolder('trip', own => {
  folder = own
})

test('what is packed and unpacked again is what was there', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 12 }), fc.record(owned), async (items, rootItem) => {
      const own = mkdtempSync(join(folder, 'x-'))
      const [before, after, path] = ['before', 'after', 'layer.tar.gz'].map(part => join(own, part)) as [
        string,
        string,
        string,
      ]
      mkdirSync(before)
      mkdirSync(after)
      plant(before, items, rootItem)
      await packLayer(before, { path })
      await unpackLayer(createReadStream(path).pipe(createGunzip()), after)
      expect(listing(after)).toEqual(listing(before))
      rmSync(own, { recursive: true })
    }),
    { numRuns: 150 },
  )
}, 120_000)

test('GNU tar unpacks attributes of any name as they were', async () => {
  const [before, after, path] = ['named', 'by-gnu', 'named.tar.gz'].map(part => join(folder, part)) as [
    string,
    string,
    string,
  ]
  mkdirSync(before)
  mkdirSync(after)
  const names = ['=', 'a=b', '100%', '%25', '%3D', '%253D', '%3d', 'é']
  for (const name of names) lsetxattr(before, `user.${name}`, Buffer.from(name))
  await packLayer(before, { path })
  execFileSync('tar', ['--xattrs', '--xattrs-include=*', '-C', after, '-xpzf', path])
  expect(listing(after)).toEqual(listing(before))
  for (const name of names) expect(lgetxattr(after, `user.${name}`)?.toString()).toBe(name)
})

/** Fifteen folders of 255 bytes, and in the last one a file and a folder whose whole paths have 4095. */
const DEEPEST = `
  for (1..15) { mkdir('d' x 255) or die; chdir('d' x 255) or die }
  open(my $file, '>', 'f' x 255) or die; print $file 'deep'; close($file);
  mkdir('e' x 255) or die`

const perl = (script: string, cwd: string) => execFileSync('perl', ['-e', script], { cwd })
/** By programs that walk down folder by folder: with what is above it, no path of it could be opened. */
const found = (cwd: string) => {
  const lines = execFileSync('find', ['.', '-mindepth', '1', '-printf', '%y %m %T@ %p\\n'], { cwd, encoding: 'utf8' })
  return lines
    .replaceAll(/(.)\1{254}/g, '$1')
    .split('\n')
    .sort()
}

test('names of as many bytes as Linux can open', async () => {
  const own = mkdtempSync(join(folder, 'deep-'))
  try {
    const [before, unpacked, byGnu, shown] = ['before', 'unpacked', 'by-gnu', 'shown'].map(part => join(own, part)) as [
      string,
      string,
      string,
      string,
    ]
    for (const path of [before, unpacked, byGnu, shown]) mkdirSync(path)
    perl(DEEPEST, before)
    const path = join(own, 'layer.tar.gz')
    await packLayer(before, { path })
    const tar = () => createReadStream(path).pipe(createGunzip())
    await unpackLayer(tar(), unpacked)
    execFileSync('tar', ['-C', byGnu, '-xpzf', path])
    const index = { tar: join(own, 'tar'), index: join(own, 'index') }
    await indexLayer(tar(), index)
    mountErofs({ ...index, target: shown }, 'file')
    for (const tree of [unpacked, byGnu, shown]) expect(found(tree)).toEqual(found(before))
    const read = ['.', '-type', 'f', '-execdir', 'cat', '{}', ';']
    expect(execFileSync('find', read, { cwd: shown, encoding: 'utf8' })).toBe('deep')
    const names = execFileSync('tar', ['-tzf', path], { encoding: 'utf8' }).split('\n')
    expect(Math.max(...names.map(name => name.length))).toBe(4096) // The folder's, with its slash.
    await unmount(shown)
  } finally {
    await unmountBelow(own)
    execFileSync('rm', ['-rf', own])
  }
})

test('names of as many bytes as Linux can open are compared with those of the layers below', async () => {
  const own = mkdtempSync(join(folder, 'deep-both-'))
  try {
    const [lower, upper] = ['lower', 'upper'].map(part => join(own, part)) as [string, string]
    for (const path of [lower, upper]) {
      mkdirSync(path)
      perl(`${DEEPEST}; utime(1, 1, 'e' x 255) or die`, path)
    }
    const changed = [...changesOf(upper, [lower])].map(({ kind, path }) => `${kind} ${path.at(-1)}`)
    expect(changed).toEqual([...Array.from({ length: 15 }, () => 'changed d'), 'changed f'])
    const path = join(own, 'layer.tar.gz')
    await packLayer(upper, { path, lower: [lower] })
    const names = execFileSync('tar', ['-tzf', path], { encoding: 'utf8' }).split('\n').filter(Boolean)
    expect(names.map(name => name.replace(/\/$/, '').at(-1))).toEqual([...Array.from({ length: 15 }, () => 'd'), 'f'])
  } finally {
    execFileSync('rm', ['-rf', own])
  }
})

test('a longer name is refused as such, in a layer and in an export', async () => {
  const own = mkdtempSync(join(folder, 'too-deep-'))
  try {
    const before = join(own, 'before')
    mkdirSync(before)
    perl(`${DEEPEST}; chdir('e' x 255) or die; mkdir('x') or die; chdir('x') or die; mkdir('y') or die`, before)
    const refused = { code: 'layer.invalid', message: expect.stringContaining('has a name of more than 4095 bytes') }
    const error = await packLayer(before, { path: join(own, 'layer.tar.gz') }).catch((failure: unknown) => failure)
    expect(error).toMatchObject(refused)
    expect(await buffer(tarOfTree(before)).catch((failure: unknown) => failure)).toMatchObject(refused)
  } finally {
    execFileSync('rm', ['-rf', own])
  }
})

test('a file with holes has its bytes and its length, and takes next to nothing in a layer', async () => {
  const own = mkdtempSync(join(folder, 'holes-'))
  const [before, after, path] = ['before', 'after', 'layer.tar.gz'].map(part => join(own, part)) as [
    string,
    string,
    string,
  ]
  for (const at of [before, after]) mkdirSync(at)
  const size = 64 * 1024 ** 2 + 7
  writeFileSync(join(before, 'holes'), '')
  truncateSync(join(before, 'holes'), size)
  const file = openSync(join(before, 'holes'), 'r+')
  writeSync(file, 'in the middle', 20_000_000)
  writeSync(file, 'end', size - 3)
  closeSync(file)
  const packed = await packLayer(before, { path })
  expect(packed.size).toBeLessThan(size / 100)
  await unpackLayer(createReadStream(path).pipe(createGunzip()), after)
  expect(listing(after)).toEqual(listing(before))
})

test('attributes as large as Linux has them; more than a tar can say are refused', async context => {
  const own = join(folder, 'attributes')
  await using _memory = mountMemory(own, 32 * 1024 ** 2) // Other file systems hold less.
  const [before, after] = ['before', 'after'].map(part => join(own, part)) as [string, string]
  for (const at of [before, after]) mkdirSync(at)
  writeFileSync(join(before, 'file'), '')
  const add = (name: string) => lsetxattr(join(before, 'file'), `user.${name}`, Buffer.alloc(65_536, name))
  try {
    add('a')
  } catch (error) {
    if (errnoOf(error) !== 'ENOTSUP') throw error
    context.skip('tmpfs has no attributes of users before Linux 6.6')
  }
  for (const name of 'bcdefghijklmno') add(name)
  await packLayer(before, { path: join(own, 'large.tar.gz') })
  await unpackLayer(createReadStream(join(own, 'large.tar.gz')).pipe(createGunzip()), after)
  expect(listing(after)).toEqual(listing(before))
  add('p')
  const error = await packLayer(before, { path: join(own, 'larger.tar.gz') }).catch((failure: unknown) => failure)
  expect(error).toMatchObject({ code: 'layer.invalid', facts: { entry: 'file' } })
})
