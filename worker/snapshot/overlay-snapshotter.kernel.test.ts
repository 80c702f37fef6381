import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { describeFullDisk } from './full-disk.contract.ts'
import { openOverlaySnapshotter } from './overlay-snapshotter.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'

describeSnapshotter('overlay', folder => openOverlaySnapshotter(folder))
describeFullDisk('overlay', folder => openOverlaySnapshotter(folder), 'ext4')

test('what was written becomes a layer without a copy, whose size is written down', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-overlay-'))
  try {
    const snapshots = await openOverlaySnapshotter(folder)
    await snapshots.sweep()
    const { rootfs } = await snapshots.prepare('grown', [])
    writeFileSync(join(rootfs, 'grown'), Buffer.alloc(1_000_000, 'x'))
    await snapshots.unmount('grown')
    const { upper } = await snapshots.openChanges('grown')
    const inode = statSync(join(upper, 'grown')).ino
    const diffId = digestFromHex('a'.repeat(64))
    await snapshots.adoptUpper('grown', diffId)
    const next = await snapshots.prepare('next', [diffId])
    expect(statSync(join(next.rootfs, 'grown')).ino).toBe(inode)
    const [size] = await Promise.all([snapshots.layerSize(diffId), snapshots.settled()])
    expect(size).toBeGreaterThanOrEqual(1_000_000)
    expect(size).toBeLessThan(1_100_000)
    writeFileSync(join(folder, 'layers', `${'a'.repeat(64)}.whole`), JSON.stringify({ bytes: 5 }))
    expect(await snapshots.layerSize(diffId)).toBe(5)
    await snapshots.remove('next')
    await snapshots.settled()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
