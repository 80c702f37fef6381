import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import type { Ports } from '../ports.ts'
import { missingBlobs, partCame, signPart, takeUpload } from './host-uploads.ts'
import { sweepObjects } from './sweep-objects.ts'

const PART = 64 * 1024 * 1024
const first = new Uint8Array(PART).fill(7)
const last = new TextEncoder().encode('the rest')
const digest = digestFromHex(createHash('sha256').update(first).update(last).digest('hex'))
const layer = { mediaType: MEDIA_TYPES.layer, digest, size: PART + last.length }
const [one, other] = ['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb'] as HostId[] as [HostId, HostId]

async function lacks(ports: Ports, hostId = one): Promise<number[] | undefined> {
  const { missing } = await missingBlobs(ports, hostId, [layer])
  return missing.flatMap(blob => ('parts' in blob ? [blob.parts.missing] : []))[0]
}

async function sendPart(world: RegistryWorld, ports: Ports, number: number, bytes: Uint8Array, hostId = one) {
  const { url } = await signPart(ports, hostId, digest, number)
  await partCame(ports, hostId, digest, number, (await world.send(url, bytes)) ?? '')
}

async function sweepAll(world: RegistryWorld): Promise<void> {
  for (const hours of [25, 2, 25, 2]) {
    world.advance(hours * HOUR_MS)
    await sweepObjects(world.ports, 100)
  }
}

test('a large layer comes in parts; who asks again is told what lacks, and it is a blob once it was taken', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  expect(await lacks(ports)).toEqual([1, 2])
  await sendPart(world, ports, 2, last)
  await expect(takeUpload(ports, one, digest)).rejects.toMatchObject({ code: 'blob.not-found' })
  expect(await lacks(ports)).toEqual([1])
  expect(await lacks(ports, other)).toEqual([1, 2]) // Its own: it may lie about what it sends.
  await sendPart(world, ports, 1, first)
  await takeUpload(ports, one, digest)
  await takeUpload(ports, one, digest)
  expect(await lacks(ports)).toBeUndefined()
  expect(await world.objects()).toHaveLength(1)
  await sweepAll(world)
  expect(await world.rows('select * from uploads')).toEqual([])
})

test('parts that are the first at once make one upload in the store', async () => {
  await using world = await openRegistryWorld()
  await lacks(world.ports)
  await Promise.all([1, 2, 2, 1].map(number => signPart(world.ports, one, digest, number)))
  expect(await world.unfinished()).toHaveLength(1)
})

test('other bytes are no blob, and are sent anew', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await lacks(ports)
  await lacks(ports, other)
  for (const hostId of [one, other]) await sendPart(world, ports, 1, first, hostId)
  await sendPart(world, ports, 2, new TextEncoder().encode('The Rest'))
  await expect(takeUpload(ports, one, digest)).rejects.toMatchObject({ code: 'blob.digest-mismatch' })
  expect(await lacks(ports)).toEqual([1, 2])
  await sendPart(world, ports, 2, last, other) // Another host's is not held up by it.
  await takeUpload(ports, other, digest)
  expect(await lacks(ports)).toBeUndefined()
})

test('a part that nobody asked for, or beyond the last, is refused', async () => {
  await using world = await openRegistryWorld()
  const refused = { code: 'upload.not-found' }
  await expect(signPart(world.ports, one, digest, 1)).rejects.toMatchObject(refused)
  await lacks(world.ports)
  await expect(signPart(world.ports, one, digest, 3)).rejects.toMatchObject(refused)
  await expect(partCame(world.ports, other, digest, 1, 'x')).rejects.toMatchObject(refused)
})

test('what nobody goes on with expires, with its parts', async () => {
  await using world = await openRegistryWorld()
  await lacks(world.ports)
  await sendPart(world, world.ports, 2, last)
  await sweepAll(world)
  expect(await world.unfinished()).toEqual([])
  expect(await world.rows('select * from uploads')).toEqual([])
})

test('while it is read nothing else takes its place: what becomes the blob is what was read', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await lacks(ports)
  await sendPart(world, ports, 1, first)
  await sendPart(world, ports, 2, last)
  let isReplaced = false
  const slow = world.hooked(async (name, call) => {
    const result = await call()
    if (name !== 'get' || isReplaced) return result
    isReplaced = true
    await expect(takeUpload(ports, one, digest)).rejects.toMatchObject({ code: 'upload.busy' })
    world.advance(25 * HOUR_MS) // The reader seems dead, and its upload is swept and begun anew.
    await sweepObjects(ports, 100)
    expect(await lacks(ports)).toEqual([1, 2])
    return result
  })
  await expect(takeUpload(slow, one, digest)).rejects.toMatchObject({ code: 'blob.not-found' })
  expect(isReplaced).toBe(true)
  expect(await world.rows('select * from blobs')).toEqual([])
  await sendPart(world, ports, 1, first)
  await sendPart(world, ports, 2, last)
  await takeUpload(ports, one, digest)
  const [blob] = await world.rows<{ object_key: string }>('select * from blobs')
  expect(await world.objects()).toContain(blob?.object_key)
})

test('an upload that cannot be joined leaves nothing, and is begun anew', async () => {
  await using world = await openRegistryWorld()
  await lacks(world.ports)
  await sendPart(world, world.ports, 1, first)
  await partCame(world.ports, one, digest, 2, '"a lie"')
  await expect(takeUpload(world.ports, one, digest)).rejects.toMatchObject({ code: 'blob.not-found' })
  expect(await world.unfinished()).toEqual([])
  expect(await lacks(world.ports)).toEqual([1, 2])
})

test('an upload that was asked for again lives a day more', async () => {
  await using world = await openRegistryWorld()
  await lacks(world.ports)
  await sendPart(world, world.ports, 2, last)
  world.advance(23 * HOUR_MS)
  expect(await lacks(world.ports)).toEqual([1])
  world.advance(2 * HOUR_MS)
  await sweepObjects(world.ports, 100)
  expect(await lacks(world.ports)).toEqual([1])
})

test('killed at every call of its end, an upload is gone on with', { timeout: 60_000 }, async () => {
  await using world = await openRegistryWorld()
  let isReached = true
  for (let nth = 1; isReached; nth++) {
    await lacks(world.ports)
    await sendPart(world, world.ports, 1, first)
    await sendPart(world, world.ports, 2, last)
    let calls = 0
    const dying = world.hooked(async (_name, call) => {
      if (++calls > nth) throw new Error('the process is dead')
      const result = await call()
      if (calls === nth) throw new Error('the process dies')
      return result
    })
    await takeUpload(dying, one, digest).catch(() => {})
    isReached = calls >= nth
    world.advance(31_000) // Until the dead one's claim is stale.
    await takeUpload(world.ports, one, digest)
    expect(await lacks(world.ports)).toBeUndefined()
    for (const table of ['blobs', 'uploads', 'doomed_objects']) await world.rows(`delete from ${table}`)
    for (const key of await world.objects()) await world.ports.blobs.delete(key)
    expect(await world.unfinished()).toEqual([])
  }
})
