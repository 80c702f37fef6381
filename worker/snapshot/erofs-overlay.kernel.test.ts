import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { erofsOverlay, probeErofs } from './erofs-overlay.ts'
import { openOverlaySnapshotter } from './overlay-snapshotter.ts'
import { describeSnapshotter } from './snapshotter.contract.ts'

for (const backing of ['file', 'loop'] as const) {
  describeSnapshotter(`erofs by ${backing}`, folder => openOverlaySnapshotter(folder, () => {}, erofsOverlay(backing)))
}

test('the probe finds what this kernel can, and leaves nothing', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-probe-')
  try {
    expect(['file', 'loop']).toContain(await probeErofs(folder))
    expect(readdirSync(folder)).toEqual([])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
