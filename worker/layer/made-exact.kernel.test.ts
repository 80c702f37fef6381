import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { eachInFolder } from '#test/support/own-folder.ts'
import { PLAIN } from './tar-entries.ts'
import type { TarEntry } from './tar-format.ts'
import { encodeHeader, TAR_END } from './tar-writer.ts'
import { unpackLayer } from './unpack.ts'

/** Files have the owner and mode of their entries, whatever their folder would give them, and though it changes meanwhile. */

let folder: string
eachInFolder('exact', [], own => {
  folder = own
})

const MODES = [0o644, 0o666, 0o600, 0o000, 0o4755, 0o1777]
/** Linux's posix_acl_xattr.h: version 2; the owner rwx, group and others r-x: a file of 0666 in it comes out as 0644. */
const DEFAULT_LIST = Buffer.from(
  '02000000 01000700ffffffff 04000500ffffffff 20000500ffffffff'.replaceAll(' ', ''),
  'hex',
)

async function* tarOf(entries: readonly Partial<TarEntry>[]) {
  yield Buffer.concat([...entries.map(entry => encodeHeader({ ...PLAIN, type: 'file', path: '', ...entry })), TAR_END])
}

const INHERITED = {
  'a set-group-ID folder': { mode: 0o2755, gid: 5 },
  'a folder with a default access list': {
    xattrs: new Map([['system.posix_acl_default', DEFAULT_LIST.toString('latin1')]]),
  },
}

describe.each(Object.entries(INHERITED))('%s', (_, change) => {
  test.each(['d/', './'])('at %s', async place => {
    const named = (name: string) =>
      MODES.flatMap(mode => [1, 2].map(twin => ({ mode, path: `${place}${name}-${mode}-${twin}` })))
    const files = (name: string) => [0, 5].flatMap(gid => named(`${name}-${gid}`).map(file => ({ ...file, gid })))
    const plain = { type: 'folder' as const, path: place, mode: 0o755 }
    await unpackLayer(tarOf([plain, ...files('before'), { ...plain, ...change }, ...files('after')]), folder)
    for (const { path, mode, gid } of [...files('before'), ...files('after')]) {
      const stat = lstatSync(join(folder, path))
      expect({ path, mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid }).toEqual({ path, mode, uid: 0, gid })
    }
  })
})
