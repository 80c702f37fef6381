import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { eachInFolder } from '#test/support/own-folder.ts'
import { lgetxattr, lsetxattr, mknod, S_IFIFO, setTimes } from '../host/syscalls.ts'
import { tarOfTree } from './tree-tar.ts'

let folder: string
let root: string
eachInFolder('tree-tar', ['root'], own => {
  folder = own
  root = join(folder, 'root')
})

/** What GNU tar makes of it. */
async function unpacked(): Promise<string> {
  const target = join(folder, 'unpacked')
  mkdirSync(target)
  const input = await buffer(tarOfTree(root))
  const flags = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-pxf', '-', '-C', target]
  execFileSync('tar', flags, { input, maxBuffer: 1 })
  return target
}

test('everything that a tar holds comes out as it is, names of whiteouts among it', async () => {
  mkdirSync(join(root, 'a/b'), { recursive: true })
  writeFileSync(join(root, 'a/b/file'), 'hello')
  linkSync(join(root, 'a/b/file'), join(root, 'a/twin'))
  writeFileSync(join(root, '.wh.kept'), 'no whiteout here')
  symlinkSync('/etc/passwd', join(root, 'link'))
  mknod(join(root, 'pipe'), S_IFIFO | 0o600)
  lsetxattr(join(root, 'a/b/file'), 'user.note', Buffer.from([0, 255, 61]))
  chownSync(join(root, 'a/b'), 3_000_000_000, 7)
  chmodSync(join(root, 'a/b'), 0o2750)
  setTimes(join(root, 'a/b/file'), 1_000_000_000, 123_456_789)
  const at = await unpacked()
  expect(readdirSync(at, { recursive: true }).sort()).toEqual(readdirSync(root, { recursive: true }).sort())
  expect(readFileSync(join(at, 'a/b/file'), 'utf8')).toBe('hello')
  expect(lstatSync(join(at, 'a/twin')).ino).toBe(lstatSync(join(at, 'a/b/file')).ino)
  expect(readlinkSync(join(at, 'link'))).toBe('/etc/passwd')
  expect(lstatSync(join(at, 'pipe')).isFIFO()).toBe(true)
  expect(lgetxattr(join(at, 'a/b/file'), 'user.note')).toEqual(Buffer.from([0, 255, 61]))
  const { uid, gid, mode } = lstatSync(join(at, 'a/b'))
  expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 3_000_000_000, gid: 7, mode: 0o2750 })
  expect(lstatSync(join(at, 'a/b/file'), { bigint: true }).mtimeNs).toBe(1_000_000_000_123_456_789n)
})

test('sockets are left out', async () => {
  const server = createServer().listen(join(root, 'socket'))
  writeFileSync(join(root, 'file'), '')
  try {
    expect(readdirSync(await unpacked())).toEqual(['file'])
  } finally {
    server.close()
  }
})

/** The tar, with something done to the tree after its first piece. */
async function changedMeanwhile(change: () => void): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of tarOfTree(root)) {
    if (pieces.length === 0) change()
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

const LARGE = 1024 * 1024

test('a file that shrinks while it is read keeps its length, filled up with zeros', async () => {
  writeFileSync(join(root, 'a'), Buffer.alloc(LARGE, 'x'))
  writeFileSync(join(root, 'b'), 'after')
  const tar = await changedMeanwhile(() => truncateSync(join(root, 'a'), 10))
  const of = (name: string) => execFileSync('tar', ['-xOf', '-', name], { input: tar, maxBuffer: 2 * LARGE })
  expect(of('a')).toHaveLength(LARGE)
  expect(of('a').at(-1)).toBe(0)
  expect(of('b').toString()).toBe('after')
})

test('a folder that becomes a link is not followed, nor a file that becomes one', async () => {
  const outside = join(folder, 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'secret'), 'secret')
  writeFileSync(join(root, 'a'), Buffer.alloc(LARGE, 'x'))
  mkdirSync(join(root, 'z'))
  writeFileSync(join(root, 'z/secret'), 'open')
  const tar = await changedMeanwhile(() => {
    rmSync(join(root, 'z'), { recursive: true })
    symlinkSync(outside, join(root, 'z'))
    rmSync(join(root, 'a'))
    symlinkSync(join(outside, 'secret'), join(root, 'a'))
  })
  const names = execFileSync('tar', ['-tf', '-'], { input: tar, encoding: 'utf8' }).trim().split('\n')
  expect(names).toEqual(['a', 'z'])
  expect(tar.includes('secretsecret')).toBe(false)
  expect(execFileSync('tar', ['-xOf', '-', 'a'], { input: tar, maxBuffer: 2 * LARGE }).includes('secret')).toBe(false)
})

test('a very deep tree', async () => {
  let at = root
  for (let depth = 0; depth < 300; depth++) {
    at = join(at, 'deep')
    mkdirSync(at)
  }
  writeFileSync(join(at, 'file'), 'x')
  const tar = await buffer(tarOfTree(root))
  const names = execFileSync('tar', ['-tf', '-'], { input: tar, encoding: 'utf8' }).trim().split('\n')
  expect(names.at(-1)).toBe(`${'deep/'.repeat(300)}file`)
})
