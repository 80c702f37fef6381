import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { chooseSeed } from '#test/support/seeded.ts'
import { good, layerOf, layerWithDevice, smallLayer, stream, type TestLayer } from '#test/support/test-layers.ts'
import { viewOf } from '#test/support/tree-view.ts'
import { lsetxattr } from '#worker/host/syscalls.ts'
import { packLayer } from '#worker/layer/pack.ts'
import { describeLayerRules } from './layer-rules.contract.ts'
import type { Snapshotter } from './snapshotter.ts'

/** As many as a test asks for, made once for all drivers of a file and without a process for each. */
let many: Promise<TestLayer[]> | undefined
function manyLayers(): Promise<TestLayer[]> {
  many ??= Promise.all(
    Array.from({ length: MOST_LAYERS }, (_, at) => smallLayer({ same: `${at}`, [`own${at % 7}`]: `${at}` })),
  )
  return many
}

const MOST_LAYERS = 500
/** Odd, so that tails of both kinds are seen: `cut` decides. */
const SOME_CUTS = 7
const seed = chooseSeed()

/** A change of each kind. */
function changeMuch(root: string): void {
  rmSync(join(root, 'etc/gone'))
  rmSync(join(root, 'opaque'), { recursive: true })
  mkdirSync(join(root, 'opaque'))
  writeFileSync(join(root, 'opaque/fresh'), 'fresh')
  rmSync(join(root, 'kept'), { recursive: true })
  writeFileSync(join(root, 'kept'), 'a file now')
  const name = join(root, 'etc/name')
  const { atime, mtime } = statSync(name)
  writeFileSync(name, 'esab') // As long as before, and as old.
  utimesSync(name, atime, mtime)
  writeFileSync(join(root, 'etc/one'), 'one')
  chownSync(join(root, 'etc/one'), 1000, 1000)
  chmodSync(join(root, 'etc/one'), 0o4755)
  lsetxattr(join(root, 'etc/one'), 'user.mine', Buffer.from('mine'))
  lsetxattr(join(root, 'etc/one'), 'security.capability', CAPABILITY)
  linkSync(join(root, 'etc/one'), join(root, 'etc/twin'))
  symlinkSync('../../escape', join(root, 'etc/link'))
}

/** cap_net_raw+ep, as setcap writes it (linux/capability.h, VFS_CAP_REVISION_2). */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex')

/** Of a file of `length` bytes: all of them in `npm run soak`, else both ends and every so many between them, by the seed. */
function cutsOf(length: number): number[] {
  const every = process.env.SLIPWAY_SOAK === '1' ? 1 : SOME_CUTS
  const cuts = Array.from({ length }, (_, cut) => cut)
  return cuts.filter(cut => cut < 2 || cut > length - 3 || cut % every === seed % every)
}

/** Every name below a folder. */
const namesIn = async (folder: string) =>
  (await readdir(folder, { recursive: true, withFileTypes: true })).map(({ name }) => name)

/**
 * What every Snapshotter does. Needs root. `open` opens the same folder again, as another agent would; `makeFolder` makes
 * one on a filesystem that the driver can use.
 */
export function describeSnapshotter(
  name: string,
  open: (folder: string) => Promise<Snapshotter>,
  makeFolder = () => mkdtempSync(join(tmpdir(), 'slipway-snapshots-')),
): void {
  describe(`snapshotter: ${name}`, () => {
    let folder: string
    let snapshots: Snapshotter
    const base = layerOf({ 'etc/name': 'base', 'etc/gone': 'x', 'opaque/old': 'old', 'kept/': '' })
    const top = layerOf({ 'etc/name': 'top', 'etc/.wh.gone': '', 'opaque/.wh..wh..opq': '', 'opaque/new': 'new' })

    beforeAll(async () => {
      folder = makeFolder()
      snapshots = await open(folder)
      await snapshots.sweep()
      for (const { tar, diffId } of [base, top]) await snapshots.addLayer(diffId, stream(tar), good)
    })
    afterAll(async () => {
      for (const { id } of await snapshots.list()) await snapshots.remove(id)
      // Another agent, which asked for none: so all layers go, with what a driver mounts for them.
      await (await open(folder)).sweepLayers(new Set(), Date.now() + 60_000)
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(folder)
      rmSync(folder, { recursive: true, force: true })
    })

    test('layers lie over each other: files replaced, whiteouts and opaque folders hide what is below', async () => {
      const { rootfs } = await snapshots.prepare('over', [base.diffId, top.diffId])
      expect(readFileSync(join(rootfs, 'etc/name'), 'utf8')).toBe('top')
      expect(readdirSync(join(rootfs, 'etc'))).toEqual(['name'])
      expect(readdirSync(join(rootfs, 'opaque'))).toEqual(['new'])
      expect(existsSync(join(rootfs, 'kept'))).toBe(true)
    })

    describeLayerRules(() => snapshots)

    test('a folder becomes a file, and a folder again', async () => {
      const stages = [{ 'a/old': 'old' }, { a: 'a file' }, { 'a/new': 'new' }].map(files => layerOf(files))
      for (const { tar, diffId } of stages) await snapshots.addLayer(diffId, stream(tar), good)
      const rootOf = async (count: number) => {
        const diffIds = stages.slice(0, count).map(({ diffId }) => diffId)
        return (await snapshots.prepare(`stages-${count}`, diffIds)).rootfs
      }
      expect(readdirSync(join(await rootOf(1), 'a'))).toEqual(['old'])
      expect(readFileSync(join(await rootOf(2), 'a'), 'utf8')).toBe('a file')
      expect(readdirSync(join(await rootOf(3), 'a'))).toEqual(['new'])
    })

    test('a device node of an image is inert', async () => {
      const { tar, diffId } = layerWithDevice()
      await snapshots.addLayer(diffId, stream(tar), good)
      const { rootfs } = await snapshots.prepare('device', [diffId])
      expect(lstatSync(join(rootfs, 'zero')).rdev).toBe(lstatSync('/dev/zero').rdev)
      expect(() => openSync(join(rootfs, 'zero'), 'r')).toThrow('EACCES')
    })

    test('writes stay in their snapshot, over unmounting and mounting again', async () => {
      const one = await snapshots.prepare('one', [base.diffId])
      const two = await snapshots.prepare('two', [base.diffId])
      writeFileSync(join(one.rootfs, 'etc/name'), 'changed')
      expect(readFileSync(join(two.rootfs, 'etc/name'), 'utf8')).toBe('base')
      await snapshots.unmount('one')
      expect((await snapshots.list()).find(({ id }) => id === 'one')?.isMounted).toBe(false)
      await snapshots.prepare('one', [base.diffId])
      expect(readFileSync(join(one.rootfs, 'etc/name'), 'utf8')).toBe('changed')
    })

    test('preparing twice is preparing once; another list of layers for the same id is refused', async () => {
      const first = await snapshots.prepare('again', [base.diffId])
      expect(await snapshots.prepare('again', [base.diffId])).toEqual(first)
      await expect(snapshots.prepare('again', [top.diffId])).rejects.toThrow()
    })

    test('a layer may come twice, and none at all is an empty root', async () => {
      const { rootfs } = await snapshots.prepare('twice', [base.diffId, top.diffId, base.diffId])
      expect(readFileSync(join(rootfs, 'etc/name'), 'utf8')).toBe('base')
      const empty = await snapshots.prepare('scratch', [])
      expect(readdirSync(empty.rootfs)).toEqual([])
    })

    test('what was written becomes a layer', async () => {
      const { rootfs } = await snapshots.prepare('grown', [base.diffId])
      writeFileSync(join(rootfs, 'grown'), 'grown')
      await snapshots.unmount('grown')
      const diffId = digestFromHex('a'.repeat(64))
      await snapshots.adoptUpper('grown', diffId)
      const next = await snapshots.prepare('next', [base.diffId, diffId])
      expect(readFileSync(join(next.rootfs, 'grown'), 'utf8')).toBe('grown')
      expect((await snapshots.list()).map(({ id }) => id)).not.toContain('grown')
    })

    test('changes that are packed and added again, or adopted, show what was written', async () => {
      changeMuch((await snapshots.prepare('work', [base.diffId])).rootfs)
      // FUSE's kernel side has times of its own, which it writes down when the mount ends.
      await snapshots.unmount('work')
      const seen = viewOf((await snapshots.prepare('work', [base.diffId])).rootfs)
      await snapshots.unmount('work')
      const path = `${folder}.layer.tar.gz`
      try {
        const { diffId, tar } = await packed('work', path)
        expect(seen).toContain('/etc/twin file 3')
        const adopted = digestFromHex('c'.repeat(64))
        await snapshots.addLayer(diffId, stream(tar), good)
        await snapshots.adoptUpper('work', adopted)
        for (const layer of [diffId, adopted]) {
          const again = await snapshots.prepare(`again-${layer.slice(7, 12)}`, [base.diffId, layer])
          expect(viewOf(again.rootfs)).toEqual(seen)
          await snapshots.remove(again.id)
        }
      } finally {
        rmSync(path, { force: true })
      }
    })

    async function packed(id: string, path: string): Promise<TestLayer> {
      await using changes = await snapshots.openChanges(id)
      const { diffId } = await packLayer(changes.upper, { path, lower: changes.lower })
      return { diffId, tar: gunzipSync(readFileSync(path)) }
    }

    test.each([2, 130, MOST_LAYERS])('%i layers', async count => {
      const own = (await manyLayers()).slice(0, count)
      for (const { tar, diffId } of own) {
        if (!(await snapshots.hasLayer(diffId))) await snapshots.addLayer(diffId, stream(tar), good)
      }
      const { rootfs, id } = await snapshots.prepare(
        `many${count}`,
        own.map(({ diffId }) => diffId),
      )
      expect(readFileSync(join(rootfs, 'same'), 'utf8')).toBe(`${count - 1}`)
      expect(readdirSync(rootfs).length).toBe(Math.min(count, 7) + 1)
      await snapshots.remove(id)
    })

    test('a layer that is not what it was said to be leaves nothing', async () => {
      const { tar } = layerOf({ file: 'bad' })
      const diffId = digestFromHex('b'.repeat(64))
      const attempt = snapshots.addLayer(diffId, stream(tar), () => Promise.reject(new Error('other bytes')))
      await expect(attempt).rejects.toThrow('other bytes')
      expect(await snapshots.hasLayer(diffId)).toBe(false)
    })

    test.each(['../', '../../', '../../../', 'etc/../../'])('a tar that climbs out by %s leaves nothing', async way => {
      const { tar, diffId } = layerOf({ file: 'x' }, '-P', '--transform', `s,^\\./file$,${way}slipway-escape,`)
      await expect(snapshots.addLayer(diffId, stream(tar), good)).rejects.toMatchObject({ code: 'layer.invalid' })
      expect(await snapshots.hasLayer(diffId)).toBe(false)
      const found = [folder, join(folder, '..')].filter(place => existsSync(join(place, 'slipway-escape')))
      expect(found).toEqual([])
      expect(await namesIn(folder)).not.toContain('slipway-escape')
    })

    test('a tar that is cut off is refused and leaves nothing', async () => {
      const { tar, diffId } = layerOf({ file: 'x'.repeat(5000) })
      const attempt = snapshots.addLayer(diffId, stream(tar.subarray(0, 2000)), good)
      await expect(attempt).rejects.toMatchObject({ code: 'layer.invalid' })
      expect(await snapshots.hasLayer(diffId)).toBe(false)
    })

    test('only layers that are old and that nothing names or asked for are swept', async () => {
      const [named, kept, asked, left] = ['named', 'kept', 'asked', 'left'].map(name => layerOf({ name }))
      if (!named || !kept || !asked || !left) throw new Error('Four layers were made.')
      const all = [named, kept, asked, left].map(({ diffId }) => diffId)
      for (const { tar, diffId } of [named, kept, asked, left]) await snapshots.addLayer(diffId, stream(tar), good)
      await snapshots.prepare('names', [named.diffId])
      const other = await open(folder)
      await other.sweep()
      await pause(20)
      const moment = Date.now()
      await pause(20)
      await other.hasLayer(asked.diffId)
      const before = await other.layers()
      const others = before.filter(diffId => !all.includes(diffId))
      const keep = new Set([kept.diffId, ...others])
      expect(await other.sweepLayers(keep, Date.now() - 60_000)).toEqual([])
      const spare = [...(await other.spareLayers(keep))]
      expect(spare).toEqual(expect.arrayContaining([[left.diffId, await other.layerSize(left.diffId)]]))
      expect(spare.map(([layer]) => layer).toSorted()).toEqual([asked.diffId, left.diffId].toSorted())
      expect(await other.sweepLayers(keep, moment)).toEqual([left.diffId])
      expect((await other.layers()).toSorted()).toEqual(before.filter(diffId => diffId !== left.diffId).toSorted())
      await other.addLayer(left.diffId, stream(left.tar), good)
      expect(await other.hasLayer(left.diffId)).toBe(true)
    })

    test(`a list of layers that a power cut tore anywhere loses no layer while it is mounted, and is written again (seed ${seed})`, async () => {
      const { tar, diffId } = layerOf({ torn: 'torn' })
      await snapshots.addLayer(diffId, stream(tar), good)
      const { rootfs } = await snapshots.prepare('torn', [diffId])
      writeFileSync(join(rootfs, 'mine'), 'mine')
      const others = new Set((await snapshots.layers()).filter(layer => layer !== diffId))
      const other = await open(folder)
      const sweep = () => other.sweepLayers(others, Date.now() + 60_000)
      const list = join(folder, 'snapshots/torn/layers.json')
      const whole = readFileSync(list)
      for (const cut of cutsOf(whole.length)) {
        // Shorter, or of its size with zeros behind: filesystems know both.
        const rest = cut % 2 === 0 ? 0 : whole.length - cut
        writeFileSync(list, Buffer.concat([whole.subarray(0, cut), Buffer.alloc(rest)]))
        expect({ cut, rest, removed: await sweep() }).toEqual({ cut, rest, removed: [] })
        await snapshots.prepare('torn', [diffId])
        expect(readFileSync(list)).toEqual(whole)
      }
      expect(await sweep()).toEqual([])
      expect(readFileSync(join(rootfs, 'mine'), 'utf8')).toBe('mine')
      await snapshots.remove('torn')
      expect(await sweep()).toEqual([diffId])
    })

    test('a torn list of a snapshot that is not mounted keeps no other layer from being removed', async () => {
      const [mine, left] = [layerOf({ mine: 'of the torn one' }), layerOf({ left: 'of nobody' })]
      for (const { diffId, tar } of [mine, left]) await snapshots.addLayer(diffId, stream(tar), good)
      const { rootfs } = await snapshots.prepare('cut', [mine.diffId])
      writeFileSync(join(rootfs, 'mine'), 'mine')
      await snapshots.unmount('cut')
      writeFileSync(join(folder, 'snapshots/cut/layers.json'), '')
      const kept = new Set((await snapshots.layers()).filter(layer => layer !== left.diffId))
      expect(await (await open(folder)).sweepLayers(kept, Date.now() + 60_000)).toEqual([left.diffId])
      expect(readFileSync(join((await snapshots.prepare('cut', [mine.diffId])).rootfs, 'mine'), 'utf8')).toBe('mine')
      await snapshots.remove('cut')
    })

    test('another agent finds everything: layers, mounted snapshots, and what was written', async () => {
      const { rootfs } = await snapshots.prepare('found', [base.diffId])
      writeFileSync(join(rootfs, 'mine'), 'mine')
      const other = await open(folder)
      await other.sweep()
      expect(await other.layers()).toEqual(expect.arrayContaining([base.diffId, top.diffId]))
      expect(await other.list()).toContainEqual({ id: 'found', rootfs, isMounted: true })
      expect(readFileSync(join((await other.prepare('found', [base.diffId])).rootfs, 'mine'), 'utf8')).toBe('mine')
    })

    test('mount points that are made are not written by anybody', async () => {
      const { rootfs } = await snapshots.prepare('untouched', [base.diffId])
      for (const path of ['proc', 'dev', 'dev/pts']) mkdirSync(join(rootfs, path))
      writeFileSync(join(rootfs, 'etc/hosts'), '')
      const { writtenBytes } = await snapshots.snapshotSize('untouched')
      // What a dataset of ZFS takes is told as a whole.
      expect(writtenBytes).toBeLessThanOrEqual(name.startsWith('zfs') ? 1024 ** 2 : 0)
    })

    test('what was written has a size', async () => {
      const filled = layerOf({ filler: 'x'.repeat(800_000) })
      await snapshots.addLayer(filled.diffId, stream(filled.tar), good)
      const { rootfs } = await snapshots.prepare('sized', [base.diffId, filled.diffId])
      const before = await snapshots.snapshotSize('sized')
      writeFileSync(join(rootfs, 'large'), Buffer.alloc(3_000_000, 'x'))
      rmSync(join(rootfs, 'etc/gone')) // What is gone makes what was written no less.
      rmSync(join(rootfs, 'filler'))
      execFileSync('sync', ['-f', rootfs]) // Blocks are counted once they have a place on the disk.
      const after = await snapshots.snapshotSize('sized')
      expect(after.writtenBytes - before.writtenBytes).toBeGreaterThan(2_900_000)
      expect(after.writtenBytes - before.writtenBytes).toBeLessThan(4_000_000)
      expect(after.takenBytes).toBeGreaterThanOrEqual(after.writtenBytes)
      expect(await snapshots.snapshotSize('nothing')).toEqual({ writtenBytes: 0, takenBytes: 0 })
      expect(await snapshots.layerSize(base.diffId)).toBeGreaterThan(0)
    })

    test('what somebody still reads is removed all the same', async () => {
      const { rootfs } = await snapshots.prepare('in-use', [base.diffId])
      const file = openSync(join(rootfs, 'etc/name'), 'r')
      try {
        await snapshots.remove('in-use')
        expect(existsSync(rootfs)).toBe(false)
        expect((await snapshots.list()).map(({ id }) => id)).not.toContain('in-use')
      } finally {
        closeSync(file)
      }
    })

    test('removing takes mount and files away, and removing nothing is no error', async () => {
      const { rootfs } = await snapshots.prepare('leaving', [base.diffId])
      await snapshots.remove('leaving')
      await snapshots.remove('leaving')
      expect(existsSync(rootfs)).toBe(false)
      await expect(snapshots.prepare('../escape', [])).rejects.toMatchObject({ code: 'internal' })
    })
  })
}
