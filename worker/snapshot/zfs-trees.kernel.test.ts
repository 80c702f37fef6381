import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { installFakeZfs } from '#test/support/fake-zfs.ts'
import { unmountBelow } from '#worker/host/mount.ts'
import type { ZfsPrograms } from '#worker/host/zfs.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'
import { openTreeSnapshotter, type TreeSnapshotter } from './tree-snapshotter.ts'
import { destroyZfsTrees, openZfsTrees, tryZfs } from './zfs-trees.ts'

/** This kernel has no ZFS: a stand-in for its programs acts on a btrfs. What it cannot show is said there. */
let disk: string
let programs: ZfsPrograms
beforeAll(() => {
  disk = mkdtempSync('/var/tmp/slipway-zfs-')
  const image = `${disk}.img`
  writeFileSync(image, '')
  truncateSync(image, 512 * 1024 * 1024)
  execFileSync('mkfs.btrfs', ['-q', image])
  execFileSync('mount', ['-o', 'loop', image, disk])
  programs = installFakeZfs(join(disk, 'pool'))
})
afterAll(async () => {
  for (const snapshots of opened) await snapshots.settled()
  execFileSync('umount', [disk])
  rmSync(disk, { recursive: true })
  rmSync(`${disk}.img`)
})

const opened: TreeSnapshotter[] = []
async function open(folder: string): Promise<TreeSnapshotter> {
  const snapshots = await openTreeSnapshotter(folder, await openZfsTrees(folder, programs))
  opened.push(snapshots)
  return snapshots
}
const makeFolder = () => mkdtempSync(join(disk, 'data-'))

/** The trees of one driver. */
function treesOf(folder: string): string[] {
  const state: { datasets: Record<string, { properties: Record<string, string> }> } = JSON.parse(
    readFileSync(join(disk, 'pool/state.json'), 'utf8'),
  )
  const names = Object.keys(state.datasets)
  const root = names.find(name => state.datasets[name]?.properties['slipway:folder'] === folder)
  return names.filter(name => name.startsWith(`${root}/`) && !name.includes('@')).sort()
}

describeSnapshotter('zfs (its programs acted out)', open, makeFolder)

describe('datasets', () => {
  const layer = digestFromHex('d'.repeat(64))
  const emptyTar = () => Readable.from([Buffer.alloc(1024)], { objectMode: false })

  async function withSnapshots(use: (folder: string) => Promise<void>): Promise<void> {
    const folder = makeFolder()
    try {
      const snapshots = await open(folder)
      await snapshots.sweep()
      await snapshots.addLayer(layer, emptyTar(), async () => {})
      await use(folder)
    } finally {
      await unmountBelow(folder)
      await destroyZfsTrees(folder, programs)
      rmSync(folder, { recursive: true })
    }
  }

  test('a trial leaves nothing, and says what is in the way', async () => {
    const folder = makeFolder()
    await tryZfs(folder, programs)
    expect(readFileSync(join(disk, 'pool/state.json'), 'utf8')).not.toContain(folder)
    expect(readdirSync(folder)).toEqual([])
    const elsewhere = mkdtempSync('/var/tmp/slipway-no-zfs-')
    await expect(tryZfs(elsewhere, programs)).rejects.toThrow('not a ZFS filesystem')
    await expect(tryZfs(elsewhere, { ...programs, zfs: '/nowhere/zfs' })).rejects.toThrow('There is no program zfs')
    for (const path of [folder, elsewhere]) rmSync(path, { recursive: true })
  })

  test('the tree of layers goes while clones of it live, and each of those goes in any order', async () => {
    await withSnapshots(async folder => {
      const snapshots = await open(folder)
      for (const id of ['one', 'two', 'three']) {
        const { rootfs } = await snapshots.prepare(id, [layer])
        writeFileSync(join(rootfs, 'own'), id)
      }
      const base = join(folder, 'bases', readdirSync(join(folder, 'bases'))[0] ?? '')
      for (const name of readdirSync(base)) await (await openZfsTrees(folder, programs)).remove(join(base, name))
      for (const id of ['two', 'one']) await snapshots.remove(id)
      const { rootfs } = await snapshots.prepare('three', [layer])
      expect(readFileSync(join(rootfs, 'own'), 'utf8')).toBe('three')
      await snapshots.remove('three')
      expect(treesOf(folder)).toEqual([])
    })
  })

  test('what is in use when it is removed goes with the next that is', async () => {
    await withSnapshots(async folder => {
      const snapshots = await open(folder)
      await snapshots.prepare('held', [layer])
      await snapshots.prepare('other', [layer])
      const { rootfs } = await snapshots.prepare('held', [layer])
      writeFileSync(join(rootfs, 'open'), '')
      const file = openSync(join(rootfs, 'open'), 'r')
      const before = treesOf(folder).length
      await snapshots.remove('held').finally(() => closeSync(file))
      expect(treesOf(folder).length).toBe(before)
      await snapshots.remove('other')
      expect(treesOf(folder).length).toBe(before - 2)
    })
  })

  test('after a reboot nothing is mounted, and what was written is found again; datasets that nobody names go', async () => {
    await withSnapshots(async folder => {
      const { rootfs } = await (await open(folder)).prepare('kept', [layer])
      writeFileSync(join(rootfs, 'mine'), 'mine')
      await (await open(folder)).prepare('lost', [layer])
      const count = treesOf(folder).length
      await unmountBelow(folder)
      rmSync(join(folder, 'snapshots/lost'), { recursive: true })
      const snapshots = await open(folder)
      await snapshots.sweep()
      await snapshots.settled()
      expect(treesOf(folder).length).toBe(count - 1)
      expect(readFileSync(join((await snapshots.prepare('kept', [layer])).rootfs, 'mine'), 'utf8')).toBe('mine')
    })
  })

  test('a pool that is full is a full disk, and leaves nothing half made', async () => {
    await withSnapshots(async folder => {
      const snapshots = await open(folder)
      await snapshots.prepare('before', [layer])
      const made = treesOf(folder)
      writeFileSync(join(disk, 'pool/full'), '')
      try {
        await expect(snapshots.prepare('after', [layer])).rejects.toMatchObject({ code: 'host.disk-full' })
      } finally {
        rmSync(join(disk, 'pool/full'))
      }
      await snapshots.settled()
      expect(treesOf(folder)).toEqual(made)
      expect(existsSync(join(folder, 'snapshots/after'))).toBe(false)
      await snapshots.prepare('after', [layer])
    })
  })

  test('a folder in a layer that is called like a tree leads to no dataset', async () => {
    await withSnapshots(async folder => {
      const trees = await openZfsTrees(folder, programs)
      const made = join(folder, 'trash/layer')
      mkdirSync(join(made, 'tree'), { recursive: true })
      const before = treesOf(folder)
      await trees.remove(made)
      expect(existsSync(made)).toBe(false)
      expect(treesOf(folder)).toEqual(before)
    })
  })
})
