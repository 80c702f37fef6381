import { createHash } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import type { Ports } from '../ports.ts'
import { collectGarbage } from '../registry/garbage.ts'
import { missingBlobs, takeUpload } from '../registry/host-uploads.ts'
import { sweepObjects } from '../registry/sweep-objects.ts'
import { findSavedMount, listCacheMountPage, removeCacheMount, saveMount, sweepCacheMounts } from './cache-mounts.ts'

const HOST = 'a'.repeat(16) as HostId
const BUILD = 'b'.repeat(16) as BuildId
const ARCHITECTURE = 'amd64'
const DAY_MS = 24 * HOUR_MS
const diffId = digestFromHex('0'.repeat(64))

let world: RegistryWorld
let ports: Ports
beforeEach(async () => {
  world = await openRegistryWorld()
  ports = world.ports
})
afterEach(() => world[Symbol.asyncDispose]())

function blobOf(text: string) {
  const bytes = new TextEncoder().encode(text)
  return { bytes, size: bytes.length, digest: digestFromHex(createHash('sha256').update(bytes).digest('hex')) }
}

async function save(id: string, text: string, architecture = ARCHITECTURE): Promise<void> {
  const { bytes, size, digest } = blobOf(text)
  const { missing } = await missingBlobs(ports, HOST, [{ mediaType: 'application/x-tar', digest, size }])
  for (const blob of missing) {
    if ('upload' in blob) await world.send(blob.upload.url, bytes)
    await takeUpload(ports, HOST, digest)
  }
  await saveMount(ports, HOST, { id, architecture, build: BUILD, saved: { digest, size, diffId, unpackedBytes: 9 } })
}

const digestFor = async (id: string, architecture = ARCHITECTURE) =>
  (await findSavedMount(ports, id, architecture)).saved?.digest
const ids = async () => (await listCacheMountPage(ports, 100, undefined)).items.map(({ id }) => id).sort()

async function collect(): Promise<void> {
  await collectGarbage(ports, false, undefined)
  world.advance(2 * HOUR_MS)
  await sweepObjects(ports, 100)
}

test('the last that was saved counts, by id and architecture; a blob that is not there is none', async () => {
  expect(await findSavedMount(ports, '/root/.npm', ARCHITECTURE)).toEqual({ maxBytes: 5 * 1024 ** 3 })
  await save('/root/.npm', 'one')
  await save('/root/.npm', 'two')
  await save('/root/.npm', 'three', 'arm64')
  expect(await digestFor('/root/.npm')).toBe(blobOf('two').digest)
  expect(await digestFor('/root/.npm', 'arm64')).toBe(blobOf('three').digest)
  const { size, digest } = blobOf('never sent')
  const lost = { id: '/root/.npm', architecture: ARCHITECTURE, build: BUILD }
  const saving = saveMount(ports, HOST, { ...lost, saved: { digest, size, diffId, unpackedBytes: 9 } })
  await expect(saving).rejects.toMatchObject({ code: 'blob.not-found' })
  expect(await digestFor('/root/.npm')).toBe(blobOf('two').digest)
})

test('pages follow one another', async () => {
  for (const id of ['a', 'b', 'c']) await save(id, id)
  const first = await listCacheMountPage(ports, 2, undefined)
  const second = await listCacheMountPage(ports, 2, first.nextCursor)
  expect([...first.items, ...second.items].map(({ id }) => id).sort()).toEqual(['a', 'b', 'c'])
  expect(second.nextCursor).toBeUndefined()
})

test('a blob stays while it is saved, whatever its age; one that was replaced or removed is garbage', async () => {
  await save('kept', 'kept')
  await save('replaced', 'old')
  await save('replaced', 'new')
  await save('removed', 'removed')
  const { items } = await listCacheMountPage(ports, 100, undefined)
  await removeCacheMount(ports, items.find(({ id }) => id === 'removed')?.key ?? '')
  await expect(removeCacheMount(ports, 'none')).rejects.toMatchObject({ code: 'cache-mount.not-found' })
  world.advance(10 * DAY_MS)
  expect((await collectGarbage(ports, true, undefined)).blobs.count).toBe(2)
  await collect()
  expect((await world.rows<{ digest: string }>('select digest from blobs')).map(({ digest }) => digest).sort()).toEqual(
    ['kept', 'new'].map(text => blobOf(text).digest).sort(),
  )
  expect(await world.objects()).toHaveLength(2)
})

test('the sweep bounds age and size: what no host asked for goes, then the longest unused', async () => {
  await save('old', 'old')
  await save('asked for', 'asked for')
  world.advance(13 * DAY_MS)
  await findSavedMount(ports, 'asked for', ARCHITECTURE)
  world.advance(2 * DAY_MS)
  await save('new', 'new')
  await sweepCacheMounts(ports)
  expect(await ids()).toEqual(['asked for', 'new'])
  const { builds } = ports.config
  const totalBytes = blobOf('asked for').size + blobOf('new').size
  const within = (bytes: number): Ports => ({
    ...ports,
    config: { ...ports.config, builds: { ...builds, cacheMounts: { ...builds.cacheMounts, totalBytes: bytes } } },
  })
  await sweepCacheMounts(within(totalBytes))
  expect(await ids()).toEqual(['asked for', 'new'])
  await sweepCacheMounts(within(totalBytes - 1))
  expect(await ids()).toEqual(['new'])
})

test('one that is too large is refused', async () => {
  const { builds } = ports.config
  ports = {
    ...ports,
    config: { ...ports.config, builds: { ...builds, cacheMounts: { ...builds.cacheMounts, maxBytes: 5 } } },
  }
  await save('small', 'small')
  await expect(save('large', 'larger')).rejects.toMatchObject({ code: 'request.too-large' })
})
