import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import { unmountBelow } from '../host/mount.ts'
import { openDriver } from './probe.ts'
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

test('a driver with a folder of its own sees nothing of the others; the first one finds all of it again', async () => {
  const { layers, rootfs } = await withContainers('overlay')
  const other = await start('vfs')
  expect(await other.layers()).toEqual([])
  expect(await other.list()).toEqual([])
  expect(filesOf(rootfs)).toEqual(all('running'))
  await other.remove('running') // What the API's removal asks of this driver.
  await expectAllThere(await start('overlay'), layers, rootfs)
})
