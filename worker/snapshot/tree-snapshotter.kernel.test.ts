import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { describeSnapshotter } from './snapshotter.contract.ts'
import { BTRFS, openTreeSnapshotter, VFS } from './tree-snapshotter.ts'

let disk: string
beforeAll(() => {
  disk = mkdtempSync('/var/tmp/slipway-btrfs-')
  const image = `${disk}.img`
  writeFileSync(image, '')
  truncateSync(image, 512 * 1024 * 1024)
  execFileSync('mkfs.btrfs', ['-q', image])
  execFileSync('mount', ['-o', 'loop', image, disk])
})
afterAll(() => {
  execFileSync('umount', [disk])
  rmSync(disk, { recursive: true })
  rmSync(`${disk}.img`)
})

describeSnapshotter('vfs', folder => openTreeSnapshotter(folder, VFS))
describeSnapshotter(
  'btrfs',
  folder => openTreeSnapshotter(folder, BTRFS),
  () => mkdtempSync(join(disk, 'data-')),
)
