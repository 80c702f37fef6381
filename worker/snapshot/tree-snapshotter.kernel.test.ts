import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { makeDiskFile, mountDisk, unmountDisk } from '#test/support/disks.ts'
import { describeFullDisk } from './full-disk.contract.ts'
import { probeDrivers } from './probe.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'
import { BTRFS, openTreeSnapshotter, VFS } from './tree-snapshotter.ts'

const openVfs = (folder: string) => openTreeSnapshotter(folder, VFS)
const openBtrfs = (folder: string) => openTreeSnapshotter(folder, BTRFS)

let folder: string
let disk: string
beforeAll(() => {
  folder = mkdtempSync('/var/tmp/slipway-trees-')
  disk = join(folder, 'disk')
  makeDiskFile(`${disk}.img`, 'btrfs', 512)
  mountDisk(`${disk}.img`, disk)
})
afterAll(async () => {
  await unmountDisk(disk)
  rmSync(folder, { recursive: true })
})

describeSnapshotter('vfs', openVfs)
describeSnapshotter('btrfs', openBtrfs, () => mkdtempSync(join(disk, 'data-')))
describeFullDisk('vfs', openVfs, 'ext4')
describeFullDisk('btrfs', openBtrfs, 'btrfs')

test('changes that nobody reads any more go at the next start; the snapshot stays', async () => {
  const data = join(folder, 'data')
  const snapshots = await openVfs(data)
  const { rootfs } = await snapshots.prepare('one', [])
  const changes = join(data, 'snapshots/one/changes-0')
  mkdirSync(changes)
  const next = await openVfs(data)
  await next.sweep()
  await next.settled()
  expect(existsSync(changes)).toBe(false)
  expect(existsSync(rootfs)).toBe(true)
  await next.remove('one')
})

test('while one start copies, others begin over the same layers, and nothing takes their tree away', async () => {
  const copying = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const copy = async (from: string, to: string) => {
    if (to.includes('slow')) {
      copying.resolve()
      await goOn.promise
    }
    await VFS.copy(from, to)
  }
  const data = join(folder, 'beside')
  const snapshots = await openTreeSnapshotter(data, { ...VFS, copy })
  const tar = execFileSync('tar', ['-C', '/etc', '-c', 'hostname'])
  const diffId = digestFromHex('e'.repeat(64))
  await snapshots.addLayer(diffId, Readable.from([tar], { objectMode: false }), async () => {})
  const trees = () => readdirSync(join(data, 'bases'), { recursive: true, encoding: 'utf8' })
  const slow = snapshots.prepare('slow', [diffId])
  await copying.promise
  await snapshots.prepare('quick', [diffId])
  await snapshots.remove('quick')
  await snapshots.sweepLayers(new Set([diffId]), Date.now())
  expect(trees().filter(path => path.endsWith('tree/hostname'))).toHaveLength(1)
  goOn.resolve()
  expect(readdirSync((await slow).rootfs)).toEqual(['hostname'])
  await snapshots.remove('slow')
  await snapshots.sweepLayers(new Set([diffId]), Date.now())
  expect(trees().filter(path => path.includes('base-'))).toEqual([])
  await snapshots.settled()
})

/** Makes a folder at the end of a path that is longer than the kernel takes, and a subvolume in it. */
const DEEP = `
  for (1..30) { mkdir('d' x 200) or die; chdir('d' x 200) or die }
  exec('btrfs', 'subvolume', 'create', 'deepest')`

test('subvolumes that a container made go with its snapshot: nested, read-only, of any name and depth', async () => {
  const snapshots = await openBtrfs(join(disk, 'nested'))
  await snapshots.sweep()
  const subvolumes = () => execFileSync('btrfs', ['subvolume', 'list', disk], { encoding: 'utf8' }).split('\n').length
  const { rootfs } = await snapshots.prepare('one', [])
  const before = subvolumes()
  const make = (script: string) =>
    execFileSync('sh', ['-ec', script], { cwd: rootfs, stdio: ['ignore', 'ignore', 'pipe'] })
  make('mkdir a; btrfs subvolume create a/outer; mkdir a/outer/b; btrfs subvolume create a/outer/b/inner')
  make('echo x > a/outer/file; btrfs subvolume snapshot -r a/outer frozen')
  make('btrfs subvolume create "$(printf \'x\\377\')"')
  make('for name in $(seq 70); do btrfs subvolume create many-$name; done')
  expect(subvolumes() - before).toBe(74)
  // Last, for the program that counts cannot say its path.
  execFileSync('perl', ['-e', DEEP], { cwd: rootfs, stdio: ['ignore', 'ignore', 'pipe'] })
  await snapshots.remove('one')
  expect(subvolumes()).toBe(before - 1)
  expect(readdirSync(join(disk, 'nested/trash'))).toEqual([])
})

test('btrfs is found to work on its own disk; a copy of files takes room there only for what was written', async () => {
  const btrfs = (await probeDrivers(disk)).drivers.find(({ name }) => name === 'btrfs')
  expect(btrfs).toEqual({ name: 'btrfs', usable: true })
  const size = async (data: string) => {
    const snapshots = await openVfs(data)
    await snapshots.sweep()
    const image = mkdtempSync(join(folder, 'image-'))
    writeFileSync(join(image, 'file'), randomBytes(500_000))
    const tar = execFileSync('tar', ['-C', image, '-c', '.'])
    const diffId = digestFromHex('f'.repeat(64))
    await snapshots.addLayer(diffId, Readable.from([tar], { objectMode: false }), async () => {})
    const { rootfs } = await snapshots.prepare('one', [diffId])
    writeFileSync(join(rootfs, 'own'), randomBytes(100_000))
    execFileSync('sync', ['-f', rootfs])
    const found = await snapshots.snapshotSize('one')
    await snapshots.remove('one')
    return found
  }
  const shared = await size(join(disk, 'shared'))
  expect(shared.takenBytes).toBe(shared.writtenBytes)
  const copied = await size(join(folder, 'copied'))
  for (const { writtenBytes } of [shared, copied]) {
    expect(writtenBytes).toBeGreaterThanOrEqual(100_000)
    expect(writtenBytes).toBeLessThan(200_000)
  }
  expect(copied.takenBytes).toBeGreaterThan(600_000)
})
