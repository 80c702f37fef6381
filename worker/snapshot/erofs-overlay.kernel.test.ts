import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { erofsOverlay, probeErofs } from './erofs-overlay.ts'
import { describeFullDisk } from './full-disk.contract.ts'
import { openOverlaySnapshotter } from './overlay-snapshotter.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'

for (const backing of ['file', 'loop'] as const) {
  const open = (folder: string) => openOverlaySnapshotter(folder, () => {}, erofsOverlay(backing))
  describeSnapshotter(`erofs by ${backing}`, open)
  describeFullDisk(`erofs by ${backing}`, open, 'ext4')
}

const leftIn = (folder: string) => readdirSync(folder, { recursive: true }).filter(name => name !== 'trash')

test('the probe finds what this kernel can, and leaves nothing', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-probe-')
  try {
    expect(['file', 'loop']).toContain(await probeErofs(folder))
    expect(leftIn(folder)).toEqual([])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('an agent can begin on a full disk: the probe says what shows layers of either kind', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-probe-')
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder])
  try {
    expect(await probeErofs(folder)).toBe('loop')
    for (const inodes of [2, 3, 4, 5, 6, 7, 8, 9, 10]) {
      execFileSync('mount', ['-o', `remount,nr_inodes=${inodes}`, folder])
      expect(await probeErofs(folder)).toBe('loop')
      expect(leftIn(folder)).toEqual([])
    }
  } finally {
    execFileSync('umount', [folder])
    rmSync(folder, { recursive: true, force: true })
  }
})
