import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { digestFromHex } from '#shared/digest.ts'
import { unmountBelow } from '../host/mount.ts'
import { erofsOverlay } from './erofs-overlay.ts'
import { FUSE_OVERLAY } from './fuse-overlay.ts'
import {
  type OverlayKind,
  type OverlaySnapshotter,
  openOverlaySnapshotter,
  UNPACKED_OVERLAY,
} from './overlay-snapshotter.ts'

/** A disk without room for the next step, and a process that is killed: half-made layers and snapshots leave nothing. */

let disk: string
beforeEach(() => {
  disk = mkdtempSync('/var/tmp/slipway-sfault-')
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=700', 'tmpfs', disk])
})
afterEach(async () => {
  await unmountBelow(join(disk, 'data'))
  // What marks a layer as durable works in the background, and may hold a file for a moment.
  const isUnmounted = async () => spawnSync('umount', [disk]).status === 0
  expect(await waitUntil(isUnmounted, 20_000)).toBe(true)
  rmSync(disk, { recursive: true })
})

const tar = tarOf(['etc/a', 'etc/b', 'usr/share/c'], 700_000)
const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
const stream = () => Readable.from([tar.subarray(0, 600_000), tar.subarray(600_000)], { objectMode: false })
const good = async () => {}

function tarOf(paths: string[], bytes: number): Buffer {
  const root = mkdtempSync('/var/tmp/slipway-sfault-tar-')
  for (const path of paths) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), Buffer.alloc(bytes, path))
  }
  const made = execFileSync('tar', ['-C', root, '-c', '.'], { maxBuffer: 16 * 1024 * 1024 })
  rmSync(root, { recursive: true })
  return made
}

/** The disk of these tests is a tmpfs, from which the kernel mounts no image but through a loop device. */
const DRIVERS = [
  { name: 'overlay', kind: UNPACKED_OVERLAY, expression: 'UNPACKED_OVERLAY', folder: 'layers', files: 7 },
  { name: 'fuse-overlayfs', kind: FUSE_OVERLAY, expression: 'UNPACKED_OVERLAY', folder: 'layers', files: 7 },
  { name: 'erofs', kind: erofsOverlay('loop'), expression: "erofsOverlay('loop')", folder: 'images', files: 3 },
]

async function open(kind: OverlayKind): Promise<OverlaySnapshotter> {
  const snapshots = await openOverlaySnapshotter(join(disk, 'data'), () => {}, kind)
  await snapshots.sweep()
  return snapshots
}

const setRoom = (options: string) => execFileSync('mount', ['-o', `remount,${options}`, disk])
const inodesUsed = () => {
  const { files, ffree } = statfsSync(disk)
  return files - ffree
}
const bytesUsed = () => {
  const { blocks, bfree, bsize } = statfsSync(disk)
  return (blocks - bfree) * bsize
}

/** What lies in the driver's folders, marks of durable layers left out. */
async function leftIn(snapshots: OverlaySnapshotter): Promise<string[]> {
  await snapshots.settled()
  const folders = ['layers', 'images', 'snapshots', 'trash'].map(folder => join(disk, 'data', folder))
  const names = folders.filter(existsSync).flatMap(folder => readdirSync(folder))
  return names.filter(name => !/\.whole$|^boot\.json$/.test(name))
}

/** Tries with room for one more thing each time, until it works; every failure must leave nothing. */
async function sweepFaults(snapshots: OverlaySnapshotter, room: Iterable<string>, work: () => Promise<unknown>) {
  const before = await leftIn(snapshots)
  let failures = 0
  for (const options of room) {
    setRoom(options)
    const error = await work().then(
      () => undefined,
      (failure: unknown) => failure,
    )
    if (error === undefined) return failures
    failures++
    expect(error).toMatchObject({ code: 'host.disk-full' })
    expect(await leftIn(snapshots)).toEqual(before)
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(join(disk, 'data/snapshots'))
  }
  throw new Error('It never worked.')
}

function* growing(option: string, used: number, step: number, most: number): Generator<string> {
  for (let room = 0; room <= most; room += step) yield `${option}=${used + room}`
}

describe.each(DRIVERS)('$name', ({ kind, expression, folder, files }) => {
  test('a layer that finds no room for its next file or its next bytes leaves nothing', async () => {
    const snapshots = await open(kind)
    const add = () => snapshots.addLayer(diffId, stream(), good)
    await snapshots.settled()
    expect(await sweepFaults(snapshots, growing('nr_inodes', inodesUsed(), 1, 30), add)).toBeGreaterThanOrEqual(files)
    await snapshots.sweepLayers(new Set(), 0)
    setRoom('nr_inodes=1000')
    const other = digestFromHex('a'.repeat(64))
    const again = () => snapshots.addLayer(other, stream(), good)
    await snapshots.settled()
    expect(await sweepFaults(snapshots, growing('size', bytesUsed(), 256 * 1024, 4e6), again)).toBeGreaterThan(6)
    expect(await snapshots.hasLayer(other)).toBe(true)
  })

  test('a snapshot that finds no room for its next folder leaves nothing, no mount either', async () => {
    const snapshots = await open(kind)
    await snapshots.addLayer(diffId, stream(), good)
    await snapshots.settled()
    const room = growing('nr_inodes', inodesUsed(), 1, 30)
    expect(await sweepFaults(snapshots, room, () => snapshots.prepare('made', [diffId]))).toBeGreaterThan(3)
    expect(existsSync(join(disk, 'data/snapshots/made/rootfs/etc/a'))).toBe(true)
    await snapshots.remove('made')
    expect(await leftIn(snapshots)).toEqual([diffId.slice('sha256:'.length)])
  })

  test('an agent that is killed while it unpacks leaves what the next one reclaims', async () => {
    const script = join(disk, 'unpack.mjs')
    writeFileSync(join(disk, 'half.tar'), tar.subarray(0, 1_200_000))
    const agentText = `
    import { readFileSync } from 'node:fs'
    import { Readable } from 'node:stream'
    import { openOverlaySnapshotter, UNPACKED_OVERLAY } from '${join(import.meta.dirname, 'overlay-snapshotter.ts')}'
    import { erofsOverlay } from '${join(import.meta.dirname, 'erofs-overlay.ts')}'
    setInterval(() => {}, 1000)
    const snapshots = await openOverlaySnapshotter('${join(disk, 'data')}', () => {}, ${expression})
    await snapshots.sweep()
    const stalled = async function* () {
      yield readFileSync('${join(disk, 'half.tar')}')
      await new Promise(() => {})
    }
    await snapshots.addLayer('${diffId}', Readable.from(stalled(), { objectMode: false }), async () => {})
  `
    writeFileSync(script, agentText)
    const agent = spawn(process.execPath, [script], { stdio: 'inherit' })
    const ended = new Promise(resolve => agent.once('exit', resolve))
    const layers = join(disk, 'data', folder)
    const isHalfMade = () =>
      existsSync(layers) &&
      readdirSync(layers).some(name => name.startsWith('.new-') && readdirSync(join(layers, name)).length > 0)
    try {
      expect(await waitUntil(async () => isHalfMade(), 20_000)).toBe(true)
    } finally {
      agent.kill('SIGKILL')
      await ended
    }
    const snapshots = await open(kind)
    expect(await leftIn(snapshots)).toEqual([])
    await snapshots.addLayer(diffId, stream(), good)
    expect(await snapshots.hasLayer(diffId)).toBe(true)
  })
})
