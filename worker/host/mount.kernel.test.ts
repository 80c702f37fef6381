import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bindMount, mountOverlay, unmount, unmountBelow } from './mount.ts'
import { readMounts } from './mount-table.ts'
import { removeTree } from './remove-tree.ts'
import {
  lgetxattr,
  llistxattr,
  lremovexattr,
  lsetxattr,
  MS,
  mknod,
  mount,
  S_IFCHR,
  S_IFIFO,
  setTimes,
} from './syscalls.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway mount-'))
})
afterEach(async () => {
  await unmountBelow(folder)
  await rm(folder, { recursive: true, force: true })
})

async function make(names: string[]): Promise<string[]> {
  for (const name of names) await mkdir(join(folder, name))
  return names.map(name => join(folder, name))
}

test.each([1, 3, 500])('an overlay of %i layers shows the topmost and takes writes', async count => {
  const lower = await make(Array.from({ length: count }, (_, index) => `l${index}`))
  for (const path of lower) await writeFile(join(path, 'same'), path)
  const [upper = '', work = '', target = ''] = await make(['upper', 'work', 'a target'])
  mountOverlay({ lower, upper, work, target })
  expect(await readFile(join(target, 'same'), 'utf8')).toBe(lower[0])
  await rm(join(target, 'same'))
  expect((await lstat(join(upper, 'same'))).isCharacterDevice()).toBe(true)
  const found = (await readMounts()).find(mount => mount.target === target)
  expect(found).toMatchObject({ type: 'overlay', source: 'slipway' })
  await unmount(target)
  expect((await readMounts()).some(mount => mount.target === target)).toBe(false)
})

test('of a volatile overlay nothing waits for the disk', async () => {
  const [lower = '', upper = '', work = '', target = ''] = await make(['lower', 'upper', 'work', 'target'])
  mountOverlay({ lower: [lower], upper, work, target, isVolatile: true })
  const found = (await readMounts()).find(mount => mount.target === target)
  expect(found?.options).toContain('volatile')
  await writeFile(join(target, 'new'), 'new', { flush: true })
  await unmount(target)
  expect(await readFile(join(upper, 'new'), 'utf8')).toBe('new')
})

test('more layers than the kernel takes are refused before anything is mounted', async () => {
  const lower = Array.from({ length: 501 }, () => folder)
  expect(() => mountOverlay({ lower, upper: folder, work: folder, target: folder })).toThrow('501 layers')
})

test('very long paths work too', async () => {
  const long = join(folder, ...Array.from({ length: 4 }, () => 'x'.repeat(200)))
  await mkdir(long, { recursive: true })
  const paths = ['lower', 'upper', 'work', 'target'].map(name => join(long, name))
  for (const path of paths) await mkdir(path)
  const [lower = '', upper = '', work = '', target = ''] = paths
  mountOverlay({ lower: [lower], upper, work, target })
  await writeFile(join(target, 'a'), '')
  expect(await readdir(upper)).toEqual(['a'])
})

test('a refused overlay says the errno and leaves no mount', async () => {
  const [lower = '', upper = '', target = ''] = await make(['lower', 'upper', 'target'])
  const attempt = () => mountOverlay({ lower: [lower], upper, work: '/proc/self', target })
  expect(attempt).toThrow(expect.objectContaining({ code: 'host.kernel-refused', facts: { errno: 'EINVAL' } }))
  expect((await readMounts()).some(mount => mount.target === target)).toBe(false)
})

test('unmounting takes all mounts of a folder, those in use too, and none is no error', async () => {
  const [source = '', target = ''] = await make(['source', 'target'])
  await writeFile(join(source, 'file'), 'x')
  bindMount({ source, target, isReadOnly: true })
  bindMount({ source, target, isReadOnly: false })
  const file = await readFile(join(target, 'file'), 'utf8')
  expect(file).toBe('x')
  process.chdir(target)
  try {
    await unmount(target)
  } finally {
    process.chdir('/')
  }
  expect(await readdir(target)).toEqual([])
  await unmount(target)
  await unmount(join(folder, 'missing'))
})

test('a read-only bind mount takes no writes', async () => {
  const [source = '', target = ''] = await make(['source', 'target'])
  bindMount({ source, target, isReadOnly: true })
  await expect(writeFile(join(target, 'x'), '')).rejects.toMatchObject({ code: 'EROFS' })
})

test('a full filesystem is host.disk-full', async () => {
  const [target = ''] = await make(['target'])
  mount('slipway', target, 'tmpfs', MS.NODEV, 'size=8192,nr_inodes=3')
  mknod(join(target, 'a'), S_IFIFO | 0o600)
  mknod(join(target, 'b'), S_IFIFO | 0o600)
  const attempt = () => mknod(join(target, 'c'), S_IFIFO | 0o600)
  expect(attempt).toThrow(expect.objectContaining({ code: 'host.disk-full', facts: { errno: 'ENOSPC' } }))
})

test('device numbers, times and attributes are kept to the bit', async () => {
  const path = join(folder, 'node')
  mknod(path, S_IFCHR | 0o600, 0x123, 0x45678)
  setTimes(path, -1, 123_456_789)
  const found = await stat(path, { bigint: true })
  // The layout of stat(2): 12 bits of major at 8, minor's low 8 bits at 0 and the others at 20.
  expect(found.rdev).toBe((0x123n << 8n) | 0x78n | (0x456n << 20n))
  expect(found.mtimeNs).toBe(-1_000_000_000n + 123_456_789n)

  const file = join(folder, 'file')
  await writeFile(file, '')
  expect(llistxattr(file)).toEqual([])
  expect(lgetxattr(file, 'user.none')).toBeUndefined()
  const value = Buffer.from([0, 255, 1, 128])
  lsetxattr(file, 'user.bytes', value)
  lsetxattr(file, 'user.empty', Buffer.alloc(0))
  expect(lgetxattr(file, 'user.bytes')).toEqual(value)
  expect(lgetxattr(file, 'user.empty')).toEqual(Buffer.alloc(0))
  expect(llistxattr(file).sort()).toEqual(['user.bytes', 'user.empty'])
  lremovexattr(file, 'user.bytes')
  expect(llistxattr(file)).toEqual(['user.empty'])
})

test('a tree deeper than a path may be long is removed', async () => {
  process.chdir(folder)
  try {
    for (let depth = 0; depth < 40; depth++) {
      await mkdir('d'.repeat(200))
      process.chdir('d'.repeat(200))
    }
  } finally {
    process.chdir('/')
  }
  await removeTree(folder)
  await expect(stat(folder)).rejects.toMatchObject({ code: 'ENOENT' })
  await removeTree(folder)
})
