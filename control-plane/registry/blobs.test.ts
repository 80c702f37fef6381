import { expect, test } from 'vitest'
import type { HostId } from '#shared/domain/ids.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { pushBlob } from '#test/support/images.ts'
import { openRegistryWorld } from '#test/support/registry-world.ts'
import { forgetIfLost, openBlob, requireBlob, sizeOfBlob } from './blobs.ts'
import { foundSteps, shareStep } from './build-cache.ts'

const team = parseRepository('team/app')

test('bytes that the store has lost are no longer said to be here, and come back with the next push', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  const digest = await pushBlob(ports, team, 'some bytes')
  const row = await requireBlob(ports, team, digest)
  await ports.blobs.delete(row.objectKey)
  await expect(openBlob(ports, row)).rejects.toMatchObject({ code: 'blob.store-failed' })
  await expect(sizeOfBlob(ports, team, digest)).rejects.toMatchObject({ code: 'blob.not-found' })
  await pushBlob(ports, team, 'some bytes')
  // Whoever still has the old row in hand takes nothing from the new one.
  await expect(openBlob(ports, row)).rejects.toMatchObject({ code: 'blob.store-failed' })
  const body = await openBlob(ports, await requireBlob(ports, team, digest))
  expect(await new Response(body as never).text()).toBe('some bytes')
})

test('what a host did not find behind its URL is forgotten if the store has lost it, with the steps that name it, and only then', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  const digest = await pushBlob(ports, team, 'some bytes')
  const row = await requireBlob(ports, team, digest)
  const key = 'a'.repeat(64)
  const host = 'b'.repeat(16) as HostId
  const layer = { diffId: digest, digest, size: 10 }
  const step = { result: { created: '2026-01-01T00:00:00.000Z', layer }, isAnew: false }
  await shareStep(ports, host, key, step)
  await forgetIfLost(ports, digest)
  expect((await foundSteps(ports, key)).steps).toHaveLength(1)
  await ports.blobs.delete(row.objectKey)
  await forgetIfLost(ports, digest)
  await forgetIfLost(ports, digest)
  expect((await foundSteps(ports, key)).steps).toEqual([])
  // The host that made it again is asked for its bytes, and its word counts.
  await expect(shareStep(ports, host, key, step)).rejects.toMatchObject({ code: 'blob.not-found' })
  await pushBlob(ports, team, 'some bytes')
  await shareStep(ports, host, key, step)
  expect((await foundSteps(ports, key)).steps).toHaveLength(1)
})
