import { expect, test } from 'vitest'
import { parseRepository } from '#shared/domain/repository.ts'
import { pushBlob } from '#test/support/images.ts'
import { openRegistryWorld } from '#test/support/registry-world.ts'
import { openBlob, requireBlob, sizeOfBlob } from './blobs.ts'

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
