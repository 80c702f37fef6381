import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeDiskFile, mountDisk } from '#test/support/disks.ts'
import { checkRestart, type LayerWorld, makeLayerWorld } from '#test/support/layer-check.ts'
import { type DriverName, liveThrough, openLayerLife } from '#test/support/layer-life.ts'
import type { LayerLifeOptions } from '#test/support/layer-life-process.ts'
import { chooseSeed } from '#test/support/seeded.ts'
import { unmountBelow } from '../host/mount.ts'

/**
 * kill -9 ahead of every call that changes files or mounts, of everything that happens to layers: the next agent finds
 * each layer whole or not at all, and nothing that nobody owns.
 */

const PROGRAM = join(import.meta.dirname, '../../test/support/layer-life-process.ts')
const AT_ONCE = 2
const MOST_CALLS = 1000
const TIMEOUT_MS = 480_000
/** `npm run soak` kills ahead of each call. A run of all tests takes some, by its seed, fewer of the drivers that few hosts use. */
const isSoak = process.env.SLIPWAY_SOAK === '1'
const MANY = isSoak ? 1 : 3
const SOME = isSoak ? 1 : 7
const seed = chooseSeed()
const some = `killed ahead of ${isSoak ? 'each call' : 'some calls'} (seed ${seed}; SLIPWAY_SEED=${seed} repeats it)`

let folder: string
beforeAll(() => {
  folder = mkdtempSync('/var/tmp/slipway-crash-')
})
afterAll(async () => {
  await unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})

/** False: it was killed. */
async function livesThrough(options: LayerLifeOptions): Promise<boolean> {
  const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'compiled') }
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(options)], { stdio: 'inherit', env })
  const { promise, resolve } = Promise.withResolvers<{ code: number | null; signal: string | null }>()
  child.once('exit', (code, signal) => resolve({ code, signal }))
  const { code, signal } = await promise
  if (signal === null) expect(code).toBe(0)
  else expect(signal).toBe('SIGKILL')
  return signal === null
}

interface Sweep {
  driver: DriverName
  /** The driver that the host had until then. */
  before?: DriverName
  place: string
  /** Every so many calls, beginning with one of the first by the seed. */
  every: number
}

/** Returns how many layers were there after the kill; undefined once nothing was left to be killed. */
async function killAt(world: LayerWorld, call: number, { place, before }: Sweep): Promise<number | undefined> {
  const data = join(place, `${call}`)
  mkdirSync(data)
  const { driver, tars, diffIds } = world
  if (before) await liveThrough(await openLayerLife(before, data, tars, diffIds), diffIds)
  const isThrough = await livesThrough({ driver, folder: data, tars, diffIds, killAt: call })
  const layers = await checkRestart(world, data)
  rmSync(data, { recursive: true })
  return isThrough ? undefined : layers.length
}

async function killAhead(sweep: Sweep): Promise<number[]> {
  const { driver, place, every } = sweep
  const world = await makeLayerWorld(driver, place)
  const counts: number[] = []
  let isThrough = false
  let next = 1 + (seed % every)
  const kill = async () => {
    while (!isThrough) {
      const call = next
      next += every
      expect(call).toBeLessThan(MOST_CALLS)
      const layers = await killAt(world, call, sweep)
      if (layers === undefined) isThrough = true
      else counts.push(layers)
    }
  }
  const ended = await Promise.allSettled(
    Array.from({ length: AT_ONCE }, () =>
      kill().finally(() => {
        isThrough = true
      }),
    ),
  )
  // Only now, so that nobody works any more on what is cleaned away.
  for (const end of ended) if (end.status === 'rejected') throw end.reason
  return counts
}

const placeOf = (name: string) => {
  const place = join(folder, name)
  mkdirSync(place)
  return place
}

test.each<DriverName>(['erofs', 'overlay'])(`%s: ${some}`, { timeout: TIMEOUT_MS }, async driver => {
  const counts = await killAhead({ driver, place: placeOf(driver), every: MANY })
  expect(counts.length).toBeGreaterThan(50 / MANY)
  expect([0, 1, 2, 3].filter(count => !counts.includes(count))).toEqual([])
})

test.each<DriverName>(['fuse-overlayfs', 'vfs'])(`%s: ${some}`, { timeout: TIMEOUT_MS }, async driver => {
  expect((await killAhead({ driver, place: placeOf(driver), every: SOME })).length).toBeGreaterThan(5)
})

test(`btrfs: ${some}`, { timeout: TIMEOUT_MS }, async () => {
  const place = join(folder, 'btrfs')
  makeDiskFile(`${place}.img`, 'btrfs', 256)
  mountDisk(`${place}.img`, place)
  expect((await killAhead({ driver: 'btrfs', place, every: SOME })).length).toBeGreaterThan(5)
})

test.each<[DriverName, DriverName]>([
  ['erofs', 'overlay'],
  ['overlay', 'erofs'],
])(`%s, and then %s: ${some}`, { timeout: TIMEOUT_MS }, async (before, driver) => {
  const sweep = { driver, before, place: placeOf(`${before}-${driver}`), every: SOME }
  expect((await killAhead(sweep)).length).toBeGreaterThan(5)
})
