import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { good, layerOf, layerWithDevice, smallLayer, stream } from '#test/support/test-layers.ts'
import { changesOf } from '#worker/layer/changes.ts'
import type { Snapshotter } from './snapshotter.ts'

/** What a layer may hold and what it looks like is the same with every driver (docs/storage-drivers.md). */
export function describeLayerRules(driver: () => Snapshotter): void {
  test('an opaque root hides all that lower layers have, from what is found changed too', async () => {
    const snapshots = driver()
    const [below, only] = [layerOf({ 'etc/name': 'base' }), layerOf({ '.wh..wh..opq': '', only: 'only' })]
    for (const { tar, diffId } of [below, only]) await snapshots.addLayer(diffId, stream(tar), good)
    const { rootfs } = await snapshots.prepare('only', [below.diffId, only.diffId])
    expect(readdirSync(rootfs)).toEqual(['only'])
    mkdirSync(join(rootfs, 'etc'))
    writeFileSync(join(rootfs, 'etc/name'), 'base')
    await using changes = await snapshots.openChanges('only')
    const found = [...changesOf(changes.upper, changes.lower)]
    expect(found.map(({ kind, path }) => `${kind} ${path}`)).toEqual(['added /etc', 'added /etc/name'])
  })

  test('folders that a layer only implies are the same everywhere: root’s, 0755, of 1970', async () => {
    const snapshots = driver()
    const below = layerOf({ 'deep/old': 'old' })
    const implied = await smallLayer({ 'deep/er/new': 'new' })
    for (const { tar, diffId } of [below, implied]) await snapshots.addLayer(diffId, stream(tar), good)
    const { rootfs } = await snapshots.prepare('implied', [below.diffId, implied.diffId])
    for (const path of ['deep', 'deep/er']) {
      const { mode, uid, gid, mtimeMs } = statSync(join(rootfs, path))
      expect({ path, mode, uid, gid, mtimeMs }).toEqual({ path, mode: 0o40755, uid: 0, gid: 0, mtimeMs: 0 })
    }
    expect(readdirSync(join(rootfs, 'deep')).sort()).toEqual(['er', 'old'])
  })

  test('what AUFS kept for itself is no part of a layer', async () => {
    const snapshots = driver()
    const left = { '.wh..wh.aufs': '', '.wh..wh.plnk/1.2': 'x', 'in/.wh..wh.orph/3': 'x', 'in/file': 'mine' }
    const { tar, diffId } = layerOf(left)
    await snapshots.addLayer(diffId, stream(tar), good)
    const { rootfs } = await snapshots.prepare('aufs', [diffId])
    expect(readdirSync(rootfs, { recursive: true }).sort()).toEqual(['in', 'in/file'])
  })

  test('the character device 0:0, a whiteout for some drivers alone, is refused', async () => {
    const snapshots = driver()
    const { tar, diffId } = layerWithDevice(0, 0)
    await expect(snapshots.addLayer(diffId, stream(tar), good)).rejects.toMatchObject({ code: 'layer.invalid' })
    expect(await snapshots.hasLayer(diffId)).toBe(false)
  })
}
