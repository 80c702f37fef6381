import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { unmountBelow } from '../host/mount.ts'
import { lgetxattr, lsetxattr } from '../host/syscalls.ts'
import { erofsOverlay } from './erofs-overlay.ts'
import { type OverlaySnapshotter, openOverlaySnapshotter } from './overlay-snapshotter.ts'

let folder: string
let snapshots: OverlaySnapshotter
beforeEach(async () => {
  folder = mkdtempSync('/var/tmp/slipway-images-')
  snapshots = await open()
})
afterEach(async () => {
  await snapshots.settled()
  await unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})

const data = (...path: string[]) => join(folder, 'data', ...path)

/** As another agent would. */
async function open(): Promise<OverlaySnapshotter> {
  const opened = await openOverlaySnapshotter(data(), () => {}, erofsOverlay('file'))
  await opened.sweep()
  return opened
}

async function addLayer(fill: (root: string) => void): Promise<Digest> {
  const root = mkdtempSync(join(folder, 'root-'))
  fill(root)
  const tar = execFileSync('tar', ['-C', root, '--xattrs', '--xattrs-include=*', '-c', '.'], { maxBuffer: 2 ** 26 })
  const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
  await snapshots.addLayer(diffId, Readable.from([tar], { objectMode: false }), async () => {})
  return diffId
}
const hexOf = (diffId: Digest) => diffId.slice('sha256:'.length)
const file = (name: string, text = name) =>
  addLayer(root => {
    mkdirSync(join(root, name, '..'), { recursive: true })
    writeFileSync(join(root, name), text)
  })

test("a root starts with its image's owner, mode and attributes", async () => {
  const diffId = await addLayer(root => {
    chownSync(root, 1234, 5678)
    lsetxattr(root, 'user.kept', Buffer.from('yes'))
    chmodSync(root, 0o2751)
  })
  const { rootfs } = await snapshots.prepare('one', [diffId])
  const { uid, gid, mode } = statSync(rootfs)
  expect([uid, gid, mode & 0o7777]).toEqual([1234, 5678, 0o2751])
  expect(lgetxattr(rootfs, 'user.kept')?.toString()).toBe('yes')
})

test('a tar is kept as it came, and its layer is mounted once for all snapshots', async () => {
  const diffId = await file('kept')
  const tar = readFileSync(data('images', hexOf(diffId), 'layer.tar'))
  expect(createHash('sha256').update(tar).digest('hex')).toBe(hexOf(diffId))
  expect(readdirSync(data('mounts'))).toEqual([])
  const roots = await Promise.all(['one', 'two', 'three'].map(id => snapshots.prepare(id, [diffId])))
  expect(new Set(roots.map(({ rootfs }) => statSync(join(rootfs, 'kept')).ino)).size).toBe(1)
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  expect(mounts.filter(line => line.includes(data('mounts')) && line.includes(' - erofs ')).length).toBe(1)
})

test('after a reboot, which takes all mounts, snapshots have what they had', async () => {
  const diffId = await file('etc/name', 'image')
  const { rootfs } = await snapshots.prepare('one', [diffId])
  writeFileSync(join(rootfs, 'mine'), 'mine')
  await unmountBelow(data())
  snapshots = await open()
  const again = await snapshots.prepare('one', [diffId])
  expect(readFileSync(join(again.rootfs, 'mine'), 'utf8')).toBe('mine')
  expect(readFileSync(join(again.rootfs, 'etc/name'), 'utf8')).toBe('image')
})

test('a layer that a build made lies over mounted ones, and hides what is below', async () => {
  const diffId = await addLayer(root => {
    for (const name of ['gone', 'folder/old']) {
      mkdirSync(join(root, name, '..'), { recursive: true })
      writeFileSync(join(root, name), name)
    }
  })
  const { rootfs } = await snapshots.prepare('build', [diffId])
  rmSync(join(rootfs, 'gone'))
  rmSync(join(rootfs, 'folder'), { recursive: true })
  mkdirSync(join(rootfs, 'folder'))
  writeFileSync(join(rootfs, 'folder/new'), 'new')
  await snapshots.unmount('build')
  const made = digestFromHex('c'.repeat(64))
  await snapshots.adoptUpper('build', made)
  const next = await snapshots.prepare('next', [diffId, made])
  expect(readdirSync(next.rootfs)).toEqual(['folder'])
  expect(readdirSync(join(next.rootfs, 'folder'))).toEqual(['new'])
  expect((await snapshots.layers()).toSorted()).toEqual([diffId, made].toSorted())
})

test('a layer that goes is unmounted, also below a snapshot that is still mounted', async () => {
  const [used, unused] = [await file('used'), await file('unused')]
  const { rootfs } = await snapshots.prepare('one', [used, unused])
  writeFileSync(data('snapshots/one/layers.json'), JSON.stringify({ layers: [used] }))
  snapshots = await open()
  expect(await snapshots.sweepLayers(new Set(), Date.now() + 60_000)).toEqual([unused])
  expect(readdirSync(data('mounts'))).toEqual([hexOf(used)])
  expect(readFileSync(join(rootfs, 'unused'), 'utf8')).toBe('unused')
})

test('a crash between the removal of a layer and its unmounting is made good', async () => {
  const diffId = await file('name')
  await snapshots.prepare('one', [diffId])
  await snapshots.settled()
  rmSync(data('images', hexOf(diffId)), { recursive: true })
  snapshots = await open()
  expect(readdirSync(data('mounts'))).toEqual([])
  expect(readdirSync(data('images'))).toEqual(['boot.json'])
})

test('after a power cut, layers that may have lost bytes are removed', async () => {
  const [marked, torn] = [await file('marked'), await file('torn')]
  await snapshots.settled()
  rmSync(data('images', `${hexOf(torn)}.whole`))
  writeFileSync(data('images/boot.json'), JSON.stringify({ bootId: 'another' }))
  snapshots = await open()
  expect(await snapshots.layers()).toEqual([marked])
  expect(existsSync(data('images', hexOf(torn)))).toBe(false)
})
