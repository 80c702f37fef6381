import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { type DiskKind, makeDiskFile, mountDisk, unmountDisk } from '#test/support/disks.ts'
import type { Snapshotter } from './snapshotter.ts'

const DISK_MEBIBYTES = { ext4: 64, btrfs: 160 } as const
const LAYER_BYTES = 6_000_000
const MEGABYTE = 1_000_000
/** Too few for the layer, enough to begin. */
const LITTLE = 2
const good = async () => {}

function makeTar(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-layer-'))
  try {
    for (const name of ['one', 'two', 'three']) writeFileSync(join(folder, name), Buffer.alloc(LAYER_BYTES / 3, name))
    return execFileSync('tar', ['-C', folder, '-c', '.'], { maxBuffer: 2 * LAYER_BYTES })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Takes a disk to its last byte, and gives up as many of its files of a megabyte as there shall be room for. */
function fill(folder: string, leavingMegabytes: number): void {
  mkdirSync(folder)
  let count = 0
  while (takesFile(join(folder, `${count}`), MEGABYTE)) count++
  while (takesFile(join(folder, `${count}`), 4096)) count++
  for (let at = 0; at < leavingMegabytes; at++) rmSync(join(folder, `${at}`))
  if (leavingMegabytes > 0) execFileSync('sync', ['-f', folder]) // So that what was given up can be had.
}

function takesFile(path: string, bytes: number): boolean {
  try {
    const file = openSync(path, 'w')
    try {
      writeFileSync(file, Buffer.alloc(bytes, 1))
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false
    throw error
  }
}

/** What every Snapshotter does on a full disk. Needs root. */
export function describeFullDisk(
  name: string,
  open: (folder: string) => Promise<Snapshotter & { settled(): Promise<void> }>,
  kind: DiskKind,
): void {
  describe(`snapshotter on a full disk: ${name}`, () => {
    const tar = makeTar()
    const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
    const stream = () => Readable.from([tar.subarray(0, 900_000), tar.subarray(900_000)], { objectMode: false })
    let folder: string
    let disk: string
    let snapshots: Awaited<ReturnType<typeof open>>
    const filler = () => join(disk, 'filler')
    const data = (path: string) => join(disk, 'data', path)

    beforeAll(async () => {
      folder = mkdtempSync('/var/tmp/slipway-full-')
      disk = join(folder, 'disk')
      makeDiskFile(`${disk}.img`, kind, DISK_MEBIBYTES[kind])
      mountDisk(`${disk}.img`, disk)
      snapshots = await open(data(''))
      await snapshots.sweep()
    })
    afterAll(async () => {
      await unmountDisk(disk)
      rmSync(folder, { recursive: true })
    })

    const left = async () => {
      await snapshots.settled()
      const folders = ['layers', 'images', 'snapshots', 'trash', 'mounts'].filter(part => existsSync(data(part)))
      const names = folders.flatMap(part => readdirSync(data(part)))
      // A layer that was mounted for the attempt stays so: its name comes twice.
      return [...new Set(names)].filter(entry => !/\.whole$|^boot\.json$/.test(entry))
    }

    test('a layer that does not fit leaves nothing, and comes once there is room', async () => {
      fill(filler(), LITTLE)
      const attempt = snapshots.addLayer(diffId, stream(), good)
      await expect(attempt).rejects.toMatchObject({ code: 'host.disk-full' })
      expect(await left()).toEqual([])
      expect(await snapshots.hasLayer(diffId)).toBe(false)
      rmSync(filler(), { recursive: true })
      await snapshots.addLayer(diffId, stream(), good)
      expect(await snapshots.layers()).toEqual([diffId])
    })

    test('a snapshot is made, or leaves nothing and is made once there is room', async () => {
      fill(filler(), 0)
      const error: unknown = await snapshots.prepare('one', [diffId]).then(
        () => undefined,
        failure => failure,
      )
      if (error !== undefined) {
        expect(error).toMatchObject({ code: 'host.disk-full' })
        expect(await left()).toEqual([diffId.slice('sha256:'.length)])
        expect(await snapshots.list()).toEqual([])
      }
      rmSync(filler(), { recursive: true })
      const { rootfs } = await snapshots.prepare('one', [diffId])
      expect(readFileSync(join(rootfs, 'two')).equals(Buffer.alloc(LAYER_BYTES / 3, 'two'))).toBe(true)
    })

    test('what is there can be removed when nothing more fits', async () => {
      fill(filler(), 0)
      await snapshots.remove('one')
      expect(await snapshots.sweepLayers(new Set(), Date.now() + 60_000)).toEqual([diffId])
      expect(await left()).toEqual([])
      rmSync(filler(), { recursive: true })
    })
  })
}
