import { execFileSync } from 'node:child_process'
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { digestFromHex } from '#shared/digest.ts'
import { describeFullDisk } from './full-disk.contract.ts'
import { FUSE_OVERLAY } from './fuse-overlay.ts'
import { type OverlaySnapshotter, openOverlaySnapshotter } from './overlay-snapshotter.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'

const open = (folder: string) => openOverlaySnapshotter(folder, () => {}, FUSE_OVERLAY)
describeSnapshotter('fuse-overlayfs', open)
describeFullDisk('fuse-overlayfs', open, 'ext4')

/** The daemon of a mount, known by its arguments. */
function daemonOf(rootfs: string): number | undefined {
  const isDaemon = (pid: string) => {
    try {
      return (
        readlinkSync(`/proc/${pid}/exe`).endsWith('/fuse-overlayfs') &&
        readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(rootfs)
      )
    } catch {
      return false
    }
  }
  const found = readdirSync('/proc').find(name => /^\d+$/.test(name) && isDaemon(name))
  return found === undefined ? undefined : Number(found)
}

async function withSnapshots(use: (snapshots: OverlaySnapshotter, folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-fuse-'))
  try {
    const snapshots = await open(folder)
    await snapshots.sweep()
    await use(snapshots, folder)
    await snapshots.settled()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

test('a daemon that died is noticed and replaced; one ends with its mount', async () => {
  await withSnapshots(async snapshots => {
    const { rootfs } = await snapshots.prepare('one', [])
    writeFileSync(join(rootfs, 'kept'), 'kept')
    const daemon = daemonOf(rootfs)
    if (daemon === undefined) throw new Error('No daemon serves the mount.')
    process.kill(daemon, 'SIGKILL')
    const isDead = async () => (await snapshots.list())[0]?.isMounted === false
    expect(await waitUntil(isDead, 10_000)).toBe(true)
    await snapshots.prepare('one', [])
    expect(readFileSync(join(rootfs, 'kept'), 'utf8')).toBe('kept')
    await snapshots.unmount('one')
    expect(await waitUntil(async () => daemonOf(rootfs) === undefined, 10_000)).toBe(true)
    await snapshots.remove('one')
  })
})

/** What docs/storage-drivers.md and the probe's note say: when this fails, the program has been mended, and they are to go. */
test('of a file that an image has under two names, one keeps the old text once the mount has ended', async () => {
  await withSnapshots(async (snapshots, folder) => {
    const image = join(folder, 'image')
    mkdirSync(image)
    writeFileSync(join(image, 'one'), 'old')
    linkSync(join(image, 'one'), join(image, 'two'))
    const tar = execFileSync('tar', ['-C', image, '-c', '.'])
    const diffId = digestFromHex('e'.repeat(64))
    await snapshots.addLayer(diffId, Readable.from([tar], { objectMode: false }), async () => {})
    const read = (rootfs: string) => ['one', 'two'].map(name => readFileSync(join(rootfs, name), 'utf8'))
    const { rootfs } = await snapshots.prepare('linked', [diffId])
    writeFileSync(join(rootfs, 'one'), 'new')
    expect(read(rootfs)).toEqual(['new', 'new'])
    await snapshots.unmount('linked')
    expect(read((await snapshots.prepare('linked', [diffId])).rootfs)).toContain('old')
    await snapshots.remove('linked')
  })
})
