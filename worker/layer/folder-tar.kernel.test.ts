import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { eachInFolder } from '#test/support/own-folder.ts'
import { lgetxattr, lsetxattr, mknod, S_IFIFO } from '../host/syscalls.ts'
import { folderState } from './folder-state.ts'
import { PLAIN } from './tar-entries.ts'
import { encodeHeader, TAR_END } from './tar-writer.ts'
import { tarOfFolder } from './tree-tar.ts'
import { unpackFolder } from './unpack.ts'

let folder: string
let root: string
let target: string
eachInFolder('folder-tar', ['root', 'target'], own => {
  folder = own
  root = join(folder, 'root')
  target = join(folder, 'target')
})

const never = new AbortController().signal

function fill(): void {
  mkdirSync(join(root, 'd/e'), { recursive: true })
  writeFileSync(join(root, 'd/f'), 'bytes')
  chownSync(join(root, 'd/f'), 5, 6)
  chmodSync(join(root, 'd/f'), 0o4750)
  lsetxattr(join(root, 'd/f'), 'user.x', Buffer.from('y'))
  linkSync(join(root, 'd/f'), join(root, 'other'))
  symlinkSync('/etc/passwd', join(root, 'out'))
  symlinkSync('d', join(root, 'in'))
  writeFileSync(join(root, '.wh.name'), 'a name as any other')
  mkdirSync(join(root, '.wh..wh..opq'))
  mknod(join(root, 'pipe'), S_IFIFO | 0o600)
  writeFileSync(join(root, Buffer.from('ä'.repeat(60)).toString()), '')
  utimesSync(join(root, 'd'), 1000, 1000)
  chownSync(root, 7, 8)
  chmodSync(root, 0o1771)
}

function facts(at: string): unknown[] {
  return ['', ...readdirSync(at, { recursive: true, encoding: 'utf8' }).sort()].map(name => {
    const path = join(at, name)
    const stat = lstatSync(path, { bigint: true })
    const content = stat.isFile() ? readFileSync(path, 'utf8') : stat.isSymbolicLink() ? readlinkSync(path) : ''
    const time = name === '' ? 0n : stat.mtimeNs
    return [name, stat.mode, stat.uid, stat.gid, stat.isDirectory() ? 0n : stat.nlink, time, content]
  })
}

test('a folder comes back as it was, itself too, and gives the same tar again', async () => {
  fill()
  await unpackFolder(tarOfFolder(root), target)
  expect(facts(target)).toEqual(facts(root))
  expect(lgetxattr(join(target, 'd/f'), 'user.x')?.toString()).toBe('y')
  expect(lstatSync(join(target, 'other')).ino).toBe(lstatSync(join(target, 'd/f')).ino)
  const tar = await buffer(tarOfFolder(root))
  utimesSync(target, 5, 5)
  expect((await buffer(tarOfFolder(target))).equals(tar)).toBe(true)
})

test('no name of a tar leads out through a link', async () => {
  const outside = join(folder, 'outside')
  mkdirSync(outside)
  const entry = (path: string, more: object) => encodeHeader({ ...PLAIN, mode: 0o644, type: 'file', path, ...more })
  for (const target of [outside, '../outside']) {
    const link = entry('link', { type: 'symlink', linkTarget: target })
    for (const bad of [
      entry('link/f', {}),
      entry('../f', {}),
      entry('x', { type: 'hardlink', linkTarget: 'link/f' }),
    ]) {
      const into = mkdtempSync(join(folder, 'into-'))
      const chunks = (async function* () {
        yield Buffer.concat([link, bad, TAR_END])
      })()
      await expect(unpackFolder(chunks, into)).rejects.toMatchObject({ code: 'layer.invalid' })
    }
  }
  expect(readdirSync(outside)).toEqual([])
  expect(readdirSync(folder)).not.toContain('f')
})

test('whatever changes in a folder changes its state, its being used does not', async () => {
  fill()
  const stateOf = async () => (await folderState(root, never)).fingerprint
  let before = await stateOf()
  utimesSync(root, new Date(), new Date())
  readFileSync(join(root, 'd/f'))
  expect(await stateOf()).toBe(before)
  const { atimeMs, mtimeMs } = lstatSync(join(root, 'd/f'))
  const changes = [
    () => {
      writeFileSync(join(root, 'd/f'), 'BYTES') // As long as before, with its time put back.
      utimesSync(join(root, 'd/f'), atimeMs / 1000, mtimeMs / 1000)
    },
    () => chmodSync(join(root, 'd/f'), 0o600),
    () => chmodSync(root, 0o700),
    () => lsetxattr(join(root, 'd/f'), 'user.x', Buffer.from('z')),
    () => rmSync(join(root, 'out')),
    () => mkdirSync(join(root, 'd/e/new')),
  ]
  for (const change of changes) {
    change()
    const after = await stateOf()
    expect(after, String(change)).not.toBe(before)
    before = after
  }
  expect(await folderState(root, never)).toMatchObject({ bytes: 29, entries: 10 })
})
