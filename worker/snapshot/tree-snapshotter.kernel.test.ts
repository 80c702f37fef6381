import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeDiskFile, mountDisk, unmountDisk } from '#test/support/disks.ts'
import { describeFullDisk } from './full-disk.contract.ts'
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
