import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeDiskFile, mountDisk, unmountDisk } from '#test/support/disks.ts'
import { checkRestart, type LayerWorld, makeLayerWorld } from '#test/support/layer-check.ts'
import type { LayerLifeOptions } from '#test/support/layer-life-process.ts'
import { chooseSeed } from '#test/support/seeded.ts'
import { unmountBelow } from '../host/mount.ts'
import { folderOf } from './probe.ts'

/**
 * A loss of power ahead of every call that changes files, in everything that happens to layers. The layers lie on an ext4
 * whose disk is a file; that is copied (a reflink, in one moment) whenever something was written to it, so a copy has what
 * was synced and not what the kernel still had in memory. Each copy is mounted, which replays its journal, and an agent
 * starts on it.
 */

const PROGRAM = join(import.meta.dirname, '../../test/support/layer-life-process.ts')
const TIMEOUT_MS = 240_000
/** Of each run that are looked at: an agent starts on each. */
const MOST_COPIES = process.env.SLIPWAY_SOAK === '1' ? 1000 : 12
const seed = chooseSeed()

/** Nothing is written down but what somebody asks for. */
const COMMIT = 'commit=3600'

let folder: string
/** A btrfs, which can copy a disk in one moment. */
let store: string
beforeAll(() => {
  folder = mkdtempSync('/var/tmp/slipway-power-')
  store = join(folder, 'store')
  makeDiskFile(`${store}.img`, 'btrfs', 1024)
  mountDisk(`${store}.img`, store)
})
afterAll(async () => {
  await unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})

/** Lives through everything on a disk of its own; returns the copies of it, oldest first. */
async function copiesOf(world: LayerWorld, options: string, commits: boolean): Promise<string[]> {
  const disk = join(store, `${world.driver}-${commits}`)
  makeDiskFile(disk, 'ext4', 64)
  const copies = `${disk}-copies`
  mkdirSync(copies)
  const place = join(folder, 'disk')
  mountDisk(disk, place, options)
  try {
    const device = execFileSync('findmnt', ['-no', 'SOURCE', place], { encoding: 'utf8' }).trim()
    const data = join(place, 'data')
    mkdirSync(data)
    execFileSync('sync', ['-f', place])
    const copying = {
      disk,
      written: `/sys/block/${basename(device)}/stat`,
      copies,
      ...(commits ? { commits: join(place, 'marker') } : {}),
    }
    const { driver, tars, diffIds } = world
    const life: LayerLifeOptions = { driver, folder: data, tars, diffIds, copying }
    await promisify(execFile)(process.execPath, [PROGRAM, JSON.stringify(life)])
  } finally {
    await unmountDisk(place)
  }
  return readdirSync(copies)
    .toSorted()
    .map(name => join(copies, name))
}

/** Another run of the kernel: what its name is written into belongs to an earlier one. */
function reboot(data: string): void {
  for (const path of ['images/boot.json', 'layers/boot.json'].map(name => join(data, name))) {
    if (existsSync(path)) writeFileSync(path, JSON.stringify({ bootId: 'another' }))
  }
  const bases = join(data, 'bases')
  if (!existsSync(bases)) return
  for (const [at, name] of readdirSync(bases).entries()) renameSync(join(bases, name), join(bases, `earlier-${at}`))
}

/** Layers whose names were on the disk. */
function namesOn(data: string): number {
  const folders = ['images', 'layers'].map(name => join(data, name)).filter(path => existsSync(path))
  return folders.flatMap(path => readdirSync(path)).filter(name => /^[0-9a-f]{64}$/.test(name)).length
}

/** Looks at `some` of the copies, by the seed; returns how many layers were kept, and how many names had lost their layer. */
async function checkCopies(world: LayerWorld, copies: readonly string[], some: number) {
  const every = Math.max(1, Math.floor(copies.length / some))
  const seen = { kept: 0, lost: 0 }
  for (const copy of copies.filter((_, at) => at % every === seed % every)) {
    const place = join(folder, 'copy')
    mountDisk(copy, place)
    try {
      const data = join(place, 'data')
      reboot(folderOf(world.driver, data))
      const names = namesOn(folderOf(world.driver, data))
      const found = await checkRestart(world, data)
      seen.kept += found.length
      seen.lost += names - found.length
    } finally {
      await unmountDisk(place)
    }
  }
  return seen
}

const WAYS = [
  { way: 'what was not synced is lost', options: COMMIT, commits: false },
  // As on a filesystem that orders nothing: files have their sizes, and zeros in them.
  { way: 'names are there, unsynced bytes are not', options: `${COMMIT},data=writeback,nodelalloc`, commits: true },
] as const
const CASES = (['erofs', 'overlay', 'vfs'] as const).flatMap(driver => WAYS.map(way => ({ driver, ...way })))

test.each(CASES)(
  `$driver: $way (seed ${seed}; SLIPWAY_SEED=${seed} repeats it)`,
  { timeout: TIMEOUT_MS },
  async ({ driver, options, commits }) => {
    const place = mkdtempSync(join(folder, `${driver}-`))
    const world = await makeLayerWorld(driver, place)
    const seen = await checkCopies(world, await copiesOf(world, options, commits), MOST_COPIES)
    expect(seen.kept).toBeGreaterThan(0)
    expect(seen.lost).toBeGreaterThan(0)
  },
)
