import { execFileSync } from 'node:child_process'
import { createReadStream, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createGunzip } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { allInFolder } from '#test/support/own-folder.ts'
import { item, listing, owned, plant } from '#test/support/random-tree.ts'
import { lgetxattr, lsetxattr } from '../host/syscalls.ts'
import { packLayer } from './pack.ts'
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
