import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import type { StorageFacts } from '#shared/domain/host.ts'
import { unmountBelow } from '../host/mount.ts'
import { openDrivers } from './open-drivers.ts'
import { openDriver, probeDrivers } from './probe.ts'
import type { Snapshotter } from './snapshotter.ts'

/** An agent that starts with another driver than the one before (SLIPWAY_STORAGE_DRIVER), with containers there. */

let folder: string
beforeEach(() => {
  folder = mkdtempSync('/var/tmp/slipway-change-')
})
afterEach(async () => {
  await unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})

async function start(driver: string): Promise<Snapshotter> {
  const snapshots = await openDriver(driver, folder, error => console.error(error))
  await snapshots.sweep()
  return snapshots
}

const inData = (path: string) => join(folder, 'overlay', path)

async function addLayer(snapshots: Snapshotter, name: string): Promise<Digest> {
  const root = mkdtempSync(join(folder, 'root-'))
  writeFileSync(join(root, name), name)
  const tar = execFileSync('tar', ['-C', root, '-c', '.'])
  rmSync(root, { recursive: true })
  const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
  await snapshots.addLayer(diffId, Readable.from([tar], { objectMode: false }), async () => {})
  return diffId
}

/** Two containers over one image, one of which goes on running. */
async function withContainers(driver: string) {
  const snapshots = await start(driver)
  const layers = [await addLayer(snapshots, 'base'), await addLayer(snapshots, 'top')]
  for (const id of ['running', 'stopped']) {
    const { rootfs } = await snapshots.prepare(id, layers)
    writeFileSync(join(rootfs, 'mine'), id)
  }
  await snapshots.unmount('stopped')
  const { rootfs } = await snapshots.prepare('running', layers)
  return { layers, rootfs }
}

const filesOf = (rootfs: string) =>
  Object.fromEntries(readdirSync(rootfs).map(name => [name, readFileSync(join(rootfs, name), 'utf8')]))
const all = (mine: string) => ({ base: 'base', top: 'top', mine })

async function expectAllThere(snapshots: Snapshotter, layers: Digest[], running: string): Promise<void> {
  expect(filesOf(running)).toEqual(all('running'))
  expect((await snapshots.layers()).toSorted()).toEqual(layers.toSorted())
  const mounted = (await snapshots.list()).map(({ id, isMounted }) => `${id} ${isMounted}`)
  expect(mounted.toSorted()).toEqual(['running true', 'stopped false'])
  const { rootfs } = await snapshots.prepare('stopped', layers)
  expect(filesOf(rootfs)).toEqual(all('stopped'))
  await snapshots.unmount('stopped')
  await snapshots.unmount('running')
  expect(filesOf((await snapshots.prepare('running', layers)).rootfs)).toEqual(all('running'))
}

test('from mounted layers to unpacked ones and back: containers run on, and keep image and files without a fetch', async () => {
  const { layers, rootfs } = await withContainers('erofs')
  const images = () => readdirSync(inData('images')).filter(name => !/\./.test(name))
  expect(images().length).toBe(2)
  await expectAllThere(await start('overlay'), layers, rootfs)
  expect(images()).toEqual([])
  expect(readdirSync(inData('mounts'))).toEqual([])
  const back = await start('erofs')
  await expectAllThere(back, layers, rootfs)
  for (const id of ['running', 'stopped']) await back.remove(id)
  expect((await back.sweepLayers(new Set(), Date.now() + 60_000)).toSorted()).toEqual(layers.toSorted())
})

test('a layer that no container needs is unpacked by nobody, and swept like others', async () => {
  const diffId = await addLayer(await start('erofs'), 'unused')
  const overlay = await start('overlay')
  expect(await overlay.hasLayer(diffId)).toBe(true)
  expect(await overlay.layerSize(diffId)).toBeGreaterThan(0)
  await overlay.addLayer(diffId, Readable.from([]), async () => {})
  expect(existsSync(inData(`layers/${digestHex(diffId)}`))).toBe(false)
  const later = await start('overlay')
  expect(await later.sweepLayers(new Set(), Date.now() + 60_000)).toEqual([diffId])
  expect(await later.layers()).toEqual([])
})

test.each([
  ['header', 0],
  ['file', 1],
])('an image of whose bytes the disk has changed some (in a %s) is given up, to be fetched again', async (_, which) => {
  const diffId = await addLayer(await start('erofs'), 'rotten')
  const path = inData(`images/${digestHex(diffId)}/layer.tar`)
  const tar = readFileSync(path)
  const places = [tar.indexOf('rotten'), tar.lastIndexOf('rotten')]
  tar.write('g', places[which] ?? 0)
  writeFileSync(path, tar)
  const overlay = await start('overlay')
  await expect(overlay.prepare('one', [diffId])).rejects.toThrow(`This host lacks the layer ${diffId}`)
  expect(await overlay.list()).toEqual([])
  expect(await overlay.layers()).toEqual([])
})

describe('an agent that opens all drivers', () => {
  /** As main does it. */
  async function startAll(driver: string, change: (facts: StorageFacts) => StorageFacts = facts => facts) {
    const snapshots = await openDrivers(change(await probeDrivers(folder, driver)), folder, error => {
      throw error
    })
    await snapshots.sweep()
    return snapshots
  }

  const files = async (snapshots: Snapshotter, id: string) => {
    await using changes = await snapshots.openChanges(id)
    return readdirSync(changes.upper).filter(name => name === 'mine')
  }

  test.each(['vfs', 'fuse-overlayfs'])(
    '%s after erofs: containers keep their files, and nothing is begun anew',
    async driver => {
      const { layers, rootfs } = await withContainers('erofs')
      const now = await startAll(driver)
      for (const layer of layers) {
        expect(await now.hasLayer(layer)).toBe(false)
        expect(await now.hasLayer(layer, 'running')).toBe(true)
      }
      expect((await now.prepare('running', layers)).rootfs).toBe(rootfs)
      expect(await files(now, 'running')).toEqual(['mine'])
      expect(await files(now, 'stopped')).toEqual(['mine'])
      expect((await now.snapshotSize('running')).writtenBytes).toBeGreaterThan(0)
      await now.unmount('running')
      for (const id of ['running', 'stopped']) {
        expect(filesOf((await now.prepare(id, layers)).rootfs)).toEqual(all(id))
        expect(now.has(id)).toBe(true)
      }
      expect(readdirSync(join(folder, driver, 'snapshots'))).toEqual([])
      expect((await now.list()).map(({ id }) => id).toSorted()).toEqual(['running', 'stopped'])
    },
  )

  test('a layer that both have takes room twice, and counts once below a container', async () => {
    const { layers } = await withContainers('erofs')
    const now = await startAll('vfs')
    for (const name of ['base', 'top']) await addLayer(now, name)
    await now.prepare('fresh', layers)
    for (const layer of layers) {
      const [all, left, chosen] = [now.layerSize(layer), now.layerSize(layer, 'running'), now.layerSize(layer, 'fresh')]
      expect(Math.min(await left, await chosen)).toBeGreaterThan(0)
      expect(await all).toBe((await left) + (await chosen))
    }
    expect(await now.spareLayers(new Set(layers))).toEqual(new Map())
    const sizes = await Promise.all(layers.map(layer => now.layerSize(layer, 'running')))
    for (const id of ['running', 'stopped']) await now.remove(id)
    const spare = await now.spareLayers(new Set(layers))
    expect(layers.map(layer => spare.get(layer))).toEqual(sizes)
    await now.remove('fresh')
  })

  test('what is new goes to the chosen driver; removal and sweeps reach what the other one left', async () => {
    const { layers } = await withContainers('erofs')
    const now = await startAll('vfs')
    const own = await addLayer(now, 'own')
    const { rootfs } = await now.prepare('fresh', [own])
    expect(rootfs.startsWith(join(folder, 'vfs'))).toBe(true)
    expect((await now.layers()).toSorted()).toEqual([...layers, own].toSorted())
    for (const layer of layers) expect(await now.layerSize(layer)).toBeGreaterThan(0)
    const later = Date.now() + 60_000
    expect(await now.sweepLayers(new Set([own]), later)).toEqual([])
    for (const id of ['running', 'stopped']) await now.remove(id)
    expect(readdirSync(inData('snapshots'))).toEqual([])
    expect(now.has('running')).toBe(false)
    // What came before the agent began is not old yet.
    expect(await now.sweepLayers(new Set([own]), Date.now() - 60_000)).toEqual([])
    expect((await now.sweepLayers(new Set([own]), later)).toSorted()).toEqual(layers.toSorted())
    expect(await now.layers()).toEqual([own])
    await now.remove('fresh')
  })

  test('files whose driver cannot work any more are refused by its name, not begun anew; what runs there is read', async () => {
    const { layers } = await withContainers('vfs')
    const now = await startAll('overlay', facts => ({
      ...facts,
      drivers: facts.drivers.map(one =>
        one.name === 'vfs' ? { ...one, usable: false, reason: 'It is broken.' } : one,
      ),
    }))
    const refused = now.prepare('stopped', layers)
    await expect(refused).rejects.toMatchObject({ code: 'host.storage-unusable', facts: { driver: 'vfs' } })
    await expect(refused).rejects.toThrow('This driver cannot work here now: It is broken. Start the host')
    expect(readdirSync(inData('snapshots'))).toEqual([])
    expect(filesOf((await now.prepare('running', layers)).rootfs)).toEqual(all('running'))
    await now.remove('stopped')
    expect(readdirSync(join(folder, 'vfs/snapshots'))).toEqual(['running'])
  })

  test('where an earlier agent began one anew, that is read in which it runs, and both go with it', async () => {
    const { layers, rootfs } = await withContainers('erofs')
    const fresh = await start('vfs')
    const own = await addLayer(fresh, 'own')
    await fresh.prepare('running', [own])
    await fresh.unmount('running')
    const now = await startAll('vfs')
    expect((await now.prepare('running', layers)).rootfs).toBe(rootfs)
    expect(await files(now, 'running')).toEqual(['mine'])
    await now.unmount('running')
    expect((await now.prepare('running', [own])).rootfs.startsWith(join(folder, 'vfs'))).toBe(true)
    await now.remove('running')
    expect(now.has('running')).toBe(false)
  })

  test('files whose layers the other driver has lost are refused too', async () => {
    const { layers } = await withContainers('erofs')
    const [base] = layers
    if (!base) throw new Error('Two layers were made.')
    const now = await startAll('vfs')
    await now.unmount('running')
    await unmountBelow(inData('mounts'))
    rmSync(inData(`images/${digestHex(base)}`), { recursive: true })
    await expect(now.prepare('running', layers)).rejects.toThrow('no longer has all layers')
    expect(existsSync(join(folder, 'vfs/snapshots/running'))).toBe(false)
  })
})
