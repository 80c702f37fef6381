import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import { readMounts } from '#worker/host/mount-table.ts'
import { folderOf } from '#worker/snapshot/probe.ts'
import { type DriverName, type LayerLife, liveThrough, MADE, openLayerLife } from './layer-life.ts'
import { viewOf } from './tree-view.ts'

/** What a host must be when its agent starts after a crash: every layer whole or absent, nothing there that nobody owns. */

export interface LayerWorld {
  driver: DriverName
  /** Where the tars lie, by their hex. */
  tars: string
  /** Bottom first. */
  diffIds: Digest[]
  /** What each layer alone, and the image, look like where nothing went wrong. */
  views: Map<string, string>
}

/** Two layers, of which the upper one hides and replaces files of the lower one, and how this driver shows them. */
export async function makeLayerWorld(driver: DriverName, folder: string): Promise<LayerWorld> {
  const tars = join(folder, 'tars')
  mkdirSync(tars)
  const base = { 'etc/name': 'base', 'etc/gone': 'gone', 'opaque/old': 'old', large: 'large '.repeat(20_000) }
  const top = { 'etc/name': 'top', 'etc/.wh.gone': '', 'opaque/.wh..wh..opq': '', 'opaque/new': 'new' }
  const diffIds = [base, top].map(files => makeTar(tars, files))
  const world: LayerWorld = { driver, tars, diffIds, views: new Map() }
  const data = join(folder, 'whole')
  mkdirSync(data)
  const life = await openLayerLife(driver, data, tars, diffIds)
  await liveThrough(life, diffIds)
  for (const list of [[MADE], ...diffIds.map(diffId => [diffId]), diffIds]) {
    world.views.set(list.join(), await viewOfLayers(life, list))
  }
  await leaveNothing(life, data)
  return world
}

function makeTar(tars: string, files: Record<string, string>): Digest {
  const root = mkdtempSync(join(tars, 'root-'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const tar = execFileSync('tar', ['-C', root, '-c', '.'])
  rmSync(root, { recursive: true })
  const hex = createHash('sha256').update(tar).digest('hex')
  writeFileSync(join(tars, hex), tar)
  return digestFromHex(hex)
}

/**
 * Starts anew on what a crash left in `folder`, looks at all of it, lives through everything again, and removes all.
 * Returns the layers that were still there.
 */
export async function checkRestart(world: LayerWorld, folder: string): Promise<Digest[]> {
  const { driver, tars, diffIds, views } = world
  const life = await openLayerLife(driver, folder, tars, diffIds)
  await life.snapshots.settled()
  const found = await life.snapshots.layers()
  await expectOwners(life, folderOf(driver, folder))
  for (const layer of found) await expectWhole(life, world, folderOf(driver, folder), layer)
  if (await life.images.find(life.image.digest)) {
    expect(await viewOfLayers(life, diffIds)).toBe(views.get(diffIds.join()))
  }
  await liveThrough(life, diffIds)
  expect(await viewOfLayers(life, diffIds)).toBe(views.get(diffIds.join()))
  await leaveNothing(life, folder)
  return found
}

async function expectWhole(life: LayerLife, { views }: LayerWorld, data: string, layer: Digest): Promise<void> {
  const tar = join(data, 'images', digestHex(layer), 'layer.tar')
  if (existsSync(tar)) {
    expect(createHash('sha256').update(readFileSync(tar)).digest('hex')).toBe(digestHex(layer))
  }
  expect(await viewOfLayers(life, [layer])).toBe(views.get(layer))
}

const namesIn = (folder: string) => (existsSync(folder) ? readdirSync(folder) : [])

/** Nothing half made, nothing to be removed, and no mount but those of layers and snapshots that are there. */
async function expectOwners({ snapshots }: LayerLife, data: string): Promise<void> {
  const folders = ['images', 'layers', 'snapshots', 'trash', 'mounts', 'bases'].map(name => join(data, name))
  const names = folders.flatMap(folder =>
    existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [],
  )
  expect(names.filter(name => /(^|\/)(\.new-|probe-|changes-)/.test(name))).toEqual([])
  expect(namesIn(join(data, 'trash'))).toEqual([])
  const layers = namesIn(join(data, 'mounts')).map(hex => join(data, 'images', hex))
  expect(layers.filter(path => !existsSync(path))).toEqual([])
  const owned = [
    ...(await snapshots.list()).map(({ rootfs }) => rootfs),
    ...namesIn(join(data, 'images')).map(hex => join(data, 'mounts', hex)),
  ]
  const mounts = (await readMounts()).map(({ target }) => target).filter(target => target.startsWith(`${data}/`))
  expect(mounts.filter(target => !owned.includes(target))).toEqual([])
}

async function leaveNothing({ snapshots, images }: LayerLife, folder: string): Promise<void> {
  for (const { id } of await snapshots.list()) await snapshots.remove(id)
  for (const { digest } of await images.list()) await images.remove(digest)
  await snapshots.sweepLayers(new Set(), Date.now() + 60_000)
  await snapshots.settled()
  expect(await snapshots.layers()).toEqual([])
  expect((await readMounts()).filter(({ target }) => target.startsWith(`${folder}/`))).toEqual([])
  const left = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  expect(left.map(({ name }) => name).filter(name => name !== 'boot.json')).toEqual([])
}

async function viewOfLayers({ snapshots }: LayerLife, layers: readonly Digest[]): Promise<string> {
  const { rootfs } = await snapshots.prepare('view', layers)
  const view = viewOf(rootfs)
  await snapshots.remove('view')
  return view
}
