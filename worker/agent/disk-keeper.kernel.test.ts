import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { type Digest, digestFromHex, digestHex, digestOf } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import type { HostUsage } from '#shared/protocol/agent.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { openStepCache } from '../build/step-cache.ts'
import { sweepCache } from '../build/sweep-cache.ts'
import { runContainer } from '../execute/run-container.ts'
import { openDiskReserve } from '../host/disk-reserve.ts'
import { observeContainer } from '../observe/container-facts.ts'
import { createDiskKeeper, type DiskKeeper } from './disk-keeper.ts'

/** A disk of 96 MB, which images, containers and the build cache fill. */

const MEGABYTE = 1_000_000
let folder: string
let host: TestHost
let keeper: DiskKeeper
let cache: Awaited<ReturnType<typeof openStepCache>>
let wanted: DesiredContainer[]
let said: HostUsage[]
let busySince: number | undefined
let expired: ContainerId[]

beforeEach(async () => {
  folder = mkdtempSync('/var/tmp/slipway-tdisk-')
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m,mode=700', 'tmpfs', folder])
  const dataFolder = join(folder, 'data')
  mkdirSync(dataFolder)
  host = await openTestHost('tdisk', 9, dataFolder)
  cache = await openStepCache(join(dataFolder, 'cache'), host.ports.snapshots.hasLayer.bind(host.ports.snapshots))
  wanted = []
  said = []
  busySince = undefined
  expired = []
  const { ports } = host
  keeper = createDiskKeeper({
    ports: {
      ...{ ...ports, dataFolder, cachedSteps: cache.list, removeCachedStep: cache.remove },
      expireContainer: async id => void expired.push(id),
    },
    reserve: openDiskReserve(dataFolder),
    ...{ clock: ports.clock, log: pino({ level: 'silent' }), marks: { high: 0.6, low: 0.4, minAgeMs: 60_000 } },
    wanted: () => wanted,
    isLive: async id => (await ports.runtime.inspect(id)).state === 'running',
    observe: want => observeContainer(ports, want, false),
    busySince: () => busySince,
    sweepCache: olderThan => sweepCache(join(dataFolder, 'cache'), olderThan),
    report: usage => said.push(usage),
  })
})
afterEach(async () => {
  await host[Symbol.asyncDispose]()
  execFileSync('umount', [folder])
  rmSync(folder, { recursive: true, force: true })
})

/** An image of one layer with a file of this size, last used an hour ago, its layer as old. */
async function addImage(name: string, bytes: number): Promise<{ digest: Digest; diffId: Digest }> {
  const tree = mkdtempSync(join('/dev/shm', 'slipway-tdisk-'))
  writeFileSync(join(tree, name), Buffer.alloc(bytes, name))
  const tar = execFileSync('tar', ['-C', tree, '-c', '.'], { maxBuffer: 64 * MEGABYTE })
  rmSync(tree, { recursive: true })
  const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
  await host.ports.snapshots.addLayer(diffId, Readable.from([tar]), async () => {})
  const digest = await digestOf(name)
  const descriptor = { mediaType: MEDIA_TYPES.config, digest, size: 0 }
  await host.ports.images.add({
    digest,
    manifest: { schemaVersion: 2, config: descriptor, layers: [{ ...descriptor, mediaType: MEDIA_TYPES.layerGzip }] },
    config: { architecture: host.ports.architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId] } },
  })
  const hourAgo = Date.now() / 1000 - 3600
  utimesSync(join(host.dataFolder, 'images', `${digestHex(digest)}.json`), hourAgo, hourAgo)
  return { digest, diffId }
}

const imagesNow = async () => (await host.ports.images.list()).map(({ digest }) => digest)
const layersNow = () => host.ports.snapshots.layers()

/** Layers are as young as the test: a pass of tomorrow is as good as an hour's wait. */
async function tomorrow<T>(work: () => Promise<T>): Promise<T> {
  const { clock } = host.ports
  const { now } = clock
  clock.now = () => now() + 24 * 3600_000
  try {
    return await work()
  } finally {
    clock.now = now
  }
}

test('a disk that fills loses images that no container has, with their layers, and nothing else', async () => {
  const want = host.want(['sleep', '1000'])
  await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
  const unused = await addImage('unused', 38 * MEGABYTE)
  const held = await addImage('held', 25 * MEGABYTE)
  const heldBy = host.want(['true'])
  const updated = { ...want, spec: { ...want.spec, imageDigest: held.digest, revision: 1 } }
  wanted = [updated, { ...heldBy, spec: { ...heldBy.spec, imageDigest: held.digest } }]
  utimesSync(join(host.dataFolder, 'images', `${digestHex(want.spec.imageDigest)}.json`), 1, 1) // The first to go, otherwise.
  const before = await layersNow()
  await tomorrow(keeper.makeRoom)
  expect(await imagesNow()).not.toContain(unused.digest)
  expect(await imagesNow()).toContain(held.digest)
  expect(await imagesNow()).toContain(want.spec.imageDigest) // It runs until its update begins.
  expect((await layersNow()).toSorted()).toEqual(before.filter(layer => layer !== unused.diffId).toSorted())
  expect((await host.ports.runtime.inspect(want.id)).state).toBe('running')
})

test('nothing goes while the disk has room, nor what a build or pull that runs may have made', async () => {
  const small = await addImage('small', 5 * MEGABYTE)
  await tomorrow(keeper.makeRoom)
  expect(await imagesNow()).toContain(small.digest)
  const large = await addImage('large', 60 * MEGABYTE)
  busySince = Date.now() - 2 * 3600_000
  await tomorrow(keeper.makeRoom)
  expect(await imagesNow()).toContain(large.digest)
  busySince = undefined
  await tomorrow(keeper.makeRoom)
  expect(await imagesNow()).not.toContain(large.digest)
})

test('the build cache goes after the images', async () => {
  const { digest, diffId } = await addImage('shared', 20 * MEGABYTE)
  const blob = await digestOf('blob')
  const key = 'a'.repeat(64)
  writeFileSync(cache.blobPath(blob), Buffer.alloc(45 * MEGABYTE))
  const layer = { diffId, digest: blob, size: 45 * MEGABYTE }
  await cache.keep(key, { result: { created: '2026-01-01T00:00:00.000Z', layer } })
  await tomorrow(keeper.makeRoom)
  expect(await imagesNow()).not.toContain(digest)
  expect(await cache.list()).toEqual([])
  expect(existsSync(cache.blobPath(blob))).toBe(false)
  expect(await layersNow()).not.toContain(diffId)
})

test('a prune gives up what was asked for, however much room there is, and nothing that is held or in the making', async () => {
  const [held, unused] = [await addImage('held', 3 * MEGABYTE), await addImage('unused', 5 * MEGABYTE)]
  const heldBy = host.want(['true'])
  wanted = [{ ...heldBy, spec: { ...heldBy.spec, imageDigest: held.digest } }]
  const blob = await digestOf('blob')
  writeFileSync(cache.blobPath(blob), Buffer.alloc(2 * MEGABYTE))
  const layer = { diffId: unused.diffId, digest: blob, size: 2 * MEGABYTE }
  await cache.keep('a'.repeat(64), { result: { created: '2026-01-01T00:00:00.000Z', layer } })
  const unnamed = cache.blobPath(await digestOf('of a step that could not be written down'))
  writeFileSync(unnamed, 'blob')
  const ask = (terms: { images: boolean; buildCache: boolean; unusedForMs?: number }) =>
    tomorrow(() => keeper.prune({ kind: 'prune', unusedForMs: 0, ...terms }))
  const nothing = { images: 0, cachedSteps: 0, bytes: 0 }
  expect(await ask({ images: true, buildCache: true, unusedForMs: 48 * 3600_000 })).toEqual(nothing)
  busySince = Date.now() - 2 * 3600_000
  expect(await ask({ images: true, buildCache: true })).toEqual(nothing)
  expect(existsSync(unnamed)).toBe(true)
  busySince = undefined
  expect(await ask({ images: true, buildCache: false })).toMatchObject({ cachedSteps: 0 })
  expect([await imagesNow(), (await layersNow()).includes(unused.diffId)]).toEqual([[held.digest], true])
  const { cachedSteps, bytes } = await ask({ images: false, buildCache: true })
  expect([cachedSteps, bytes > 6 * MEGABYTE]).toEqual([1, true])
  expect(existsSync(unnamed)).toBe(false)
  expect([await cache.list(), (await layersNow()).includes(unused.diffId)]).toEqual([[], false])
  expect(await layersNow()).toContain(held.diffId)
})

test('layers of an image of which another layer was broken are counted, and a prune says what they took', async () => {
  const { digest, diffId } = await addImage('half', 7 * MEGABYTE)
  await host.ports.images.remove(digest)
  await keeper.measure()
  expect(said[0]?.disk.images.bytes).toBeGreaterThan(7 * MEGABYTE)
  expect(said[0]?.disk.images.reclaimableBytes).toBeGreaterThan(7 * MEGABYTE)
  const order = { kind: 'prune', unusedForMs: 0, images: true, buildCache: false } as const
  const { bytes } = await tomorrow(() => keeper.prune(order))
  expect(bytes).toBeGreaterThan(7 * MEGABYTE)
  expect(await layersNow()).not.toContain(diffId)
})

test('of containers, those go that have ended and were kept for their time, after everything else', async () => {
  const spec = { ...host.want([]).spec, command: ['sh', '-c', 'busybox head -c 32000000 /dev/zero > /written'] }
  const kept = host.want([], { spec: { ...spec, keepForMs: 3600_000 } })
  const forGood = host.want([], { spec })
  const live = host.want([], { spec: { ...spec, command: ['sleep', '1000'], keepForMs: 0 } })
  wanted = [forGood, kept, live]
  for (const want of wanted)
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
  const isOver = async ({ id }: DesiredContainer) => (await host.ports.runtime.inspect(id)).state === 'exited'
  expect(await waitUntil(async () => (await isOver(kept)) && (await isOver(forGood)), 30_000)).toBe(true)
  const image = await addImage('unused', 20 * MEGABYTE)
  await keeper.makeRoom()
  expect(await imagesNow()).not.toContain(image.digest)
  expect(expired).toEqual([])
  await tomorrow(keeper.makeRoom)
  expect(expired).toEqual([kept.id])
})

test('what takes room is said: images, what containers wrote, logs', async () => {
  const want = host.want(['sh', '-c', 'while :; do echo x; sleep 0.1; done'])
  wanted = [want]
  await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
  const { digest } = await addImage('extra', 7 * MEGABYTE)
  const { rootfs } = await host.ports.snapshots.prepare(want.id, await layersOf(want))
  writeFileSync(join(rootfs, 'written'), Buffer.alloc(3 * MEGABYTE))
  await keeper.measure()
  const [usage] = said
  expect(usage?.disk.images).toMatchObject({ count: 2, activeCount: 1 })
  expect(usage?.disk.images.reclaimableBytes).toBeGreaterThan(7 * MEGABYTE)
  expect(usage?.disk.containers).toMatchObject({ count: 1, activeCount: 1, reclaimableBytes: 0 })
  expect(usage?.containers[0]?.writableBytes).toBeGreaterThan(3 * MEGABYTE)
  expect(usage?.containers[0]?.virtualBytes).toBeGreaterThan(usage?.containers[0]?.writableBytes ?? 0)
  expect(await imagesNow()).toContain(digest)
})

test('the reserve is given up on a full disk, and taken again', async () => {
  const reserve = openDiskReserve(host.dataFolder)
  expect(await reserve.keep()).toBe('kept')
  const filler = join(folder, 'filler')
  execFileSync('sh', ['-c', `dd if=/dev/zero of=${filler} bs=64k 2>/dev/null || true`])
  expect(() => writeFileSync(join(host.dataFolder, 'note'), Buffer.alloc(100_000))).toThrow('ENOSPC')
  expect(await reserve.keep()).toBe('given up')
  writeFileSync(join(host.dataFolder, 'note'), Buffer.alloc(100_000))
  expect(() => host.ports.requireRoom()).toThrow(expect.objectContaining({ code: 'host.disk-full' }))
  expect(() => host.ports.requireReserve()).toThrow(expect.objectContaining({ code: 'host.disk-full' }))
  rmSync(filler)
  host.ports.requireRoom()
  expect(await reserve.keep()).toBe('kept')
})

async function layersOf({ spec }: DesiredContainer): Promise<Digest[]> {
  return (await host.ports.images.find(spec.imageDigest))?.config.rootfs.diff_ids ?? []
}
