import { expect, test } from 'vitest'
import { digestOf } from '#shared/digest.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import type { Garbage } from '#shared/protocol/garbage.ts'
import {
  descriptorOf,
  imageText,
  indexText,
  pushBlob,
  pushDocument,
  pushImageText,
  streamOf,
} from '#test/support/images.ts'
import { HOUR_MS, type Hook, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { runContainer } from '#test/support/running-container.ts'
import { mountBlob, requireBlob } from './blobs.ts'
import { collectGarbage, collectSlices } from './garbage.ts'
import { removeManifest } from './manifests.ts'
import { removeRepository } from './repositories.ts'
import { findImage } from './resolve.ts'
import { sweepObjects } from './sweep-objects.ts'
import { beginUpload, finishUpload } from './uploads.ts'

const team = parseRepository('team/app')

async function runs(world: RegistryWorld, reference: string): Promise<void> {
  const { digest } = await findImage(world.ports, reference, [])
  await runContainer(world, reference, digest)
}

/** After the grace, everything collected and the objects gone as well. */
async function settle(world: RegistryWorld): Promise<void> {
  world.advance(25 * HOUR_MS)
  await collectGarbage(world.ports, false, undefined)
  world.advance(2 * HOUR_MS)
  await sweepObjects(world.ports, 1000)
}

/** A run removes what the dry one named. */
async function expectWetAs(world: RegistryWorld, dry: Garbage): Promise<void> {
  const wet = await collectGarbage(world.ports, false, undefined)
  for (const { first } of [wet.manifests, wet.blobs, dry.manifests, dry.blobs]) first.sort()
  expect(wet).toEqual({ ...dry, dryRun: false })
}

const countOf = async (world: RegistryWorld, table: string) => (await world.rows(`select * from ${table}`)).length

test('what a manifest in a repository names stays, whatever its age', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer one', 'layer two'], 'a')
  await pushImageText(world.ports, team, 'latest', image)
  await settle(world)
  expect([await countOf(world, 'manifests'), await countOf(world, 'blobs')]).toEqual([1, 3])
  expect(await world.objects()).toHaveLength(3)
})

test('a removed image goes with its blobs after the grace, not before; objects an hour later', async () => {
  await using world = await openRegistryWorld()
  const [first, second] = await Promise.all([imageText(['shared', 'own'], 'a'), imageText(['shared'], 'b')])
  await pushImageText(world.ports, team, 'a', first)
  await pushImageText(world.ports, team, 'b', second)
  await removeManifest(world.ports, team, first.digest)
  world.advance(23 * HOUR_MS)
  expect(await collectGarbage(world.ports, false, undefined)).toMatchObject({
    manifests: { count: 0 },
    blobs: { count: 0 },
  })
  world.advance(2 * HOUR_MS)
  const dry = await collectGarbage(world.ports, true, undefined)
  expect(dry).toMatchObject({ manifests: { count: 1, first: [first.digest] }, blobs: { count: 2 } })
  expect(await countOf(world, 'blobs')).toBe(4)
  await expectWetAs(world, dry)
  expect(await world.objects()).toHaveLength(4)
  world.advance(2 * HOUR_MS)
  await sweepObjects(world.ports, 1000)
  expect(await world.objects()).toHaveLength(2)
})

test('an index holds its images, and goes with them', async () => {
  await using world = await openRegistryWorld()
  const images = await Promise.all([imageText(['one'], 'a'), imageText(['two'], 'b')])
  for (const image of images) await pushImageText(world.ports, team, image.digest, image)
  const index = await pushDocument(world.ports, team, 'latest', await indexText(images, 'index'))
  for (const { digest } of images) {
    await expect(removeManifest(world.ports, team, digest)).rejects.toMatchObject({ code: 'manifest.in-use' })
  }
  // Gone from the repository all the same, as they were before that was refused: the index alone holds them.
  await world.rows(`delete from tags where tag != 'latest'`)
  await world.rows(`delete from repository_manifests where digest != '${index}'`)
  await settle(world)
  expect([await countOf(world, 'manifests'), await countOf(world, 'blobs')]).toEqual([3, 4])
  await removeManifest(world.ports, team, index)
  world.advance(25 * HOUR_MS)
  const dry = await collectGarbage(world.ports, true, undefined)
  expect(dry).toMatchObject({ manifests: { count: 3 }, blobs: { count: 4 } })
  await expectWetAs(world, dry)
  await settle(world)
  expect([await world.objects(), await countOf(world, 'repository_blobs')]).toEqual([[], 0])
})

test('a container holds its image when no repository does any more', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer'], 'a')
  await pushImageText(world.ports, team, 'latest', image)
  await runs(world, `${team}:latest`)
  await expect(removeRepository(world.ports, team)).rejects.toMatchObject({ code: 'image.in-use' })
  await removeManifest(world.ports, team, image.digest)
  await settle(world)
  expect([await countOf(world, 'manifests'), await countOf(world, 'blobs')]).toEqual([1, 2])
  await world.rows('delete from containers')
  await settle(world)
  expect([await countOf(world, 'manifests'), await world.objects()]).toEqual([0, []])
})

test('who was told that a blob is here has the grace to name it; links last as long', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer'], 'a')
  const [config] = await Promise.all([pushBlob(world.ports, team, image.config), pushBlob(world.ports, team, 'layer')])
  world.advance(20 * HOUR_MS)
  await requireBlob(world.ports, team, config)
  expect(await mountBlob(world.ports, parseRepository('other'), (await descriptorOf('layer', 'x')).digest, team)).toBe(
    true,
  )
  world.advance(23 * HOUR_MS)
  expect(await collectGarbage(world.ports, false, undefined)).toMatchObject({
    blobs: { count: 0 },
    links: { count: 0 },
  })
  await pushDocument(world.ports, team, 'late', image.manifest)
  world.advance(25 * HOUR_MS)
  const dry = await collectGarbage(world.ports, true, undefined)
  expect(dry).toMatchObject({ blobs: { count: 0 }, links: { count: 1 } })
  await expectWetAs(world, dry)
})

test('pushing what is here keeps it as if it were new', async () => {
  await using world = await openRegistryWorld()
  await pushBlob(world.ports, team, 'layer')
  world.advance(48 * HOUR_MS)
  await pushBlob(world.ports, parseRepository('other'), 'layer')
  world.advance(23 * HOUR_MS)
  expect(await collectGarbage(world.ports, false, undefined)).toMatchObject({
    blobs: { count: 0 },
    links: { count: 0 },
  })
})

test('an image that was resolved stays until its container is there', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer'], 'a')
  await pushImageText(world.ports, team, 'latest', image)
  world.advance(48 * HOUR_MS)
  await findImage(world.ports, `${team}:latest`, [])
  await removeRepository(world.ports, team)
  world.advance(23 * HOUR_MS)
  expect(await collectGarbage(world.ports, false, undefined)).toMatchObject({
    manifests: { count: 0 },
    blobs: { count: 0 },
  })
})

test('a blob that goes while it is asked for is not said to be here', async () => {
  await using world = await openRegistryWorld()
  const digest = await pushBlob(world.ports, team, 'layer')
  world.advance(48 * HOUR_MS)
  let calls = 0
  const meanwhile: Hook = async (_name, call) => {
    const answer = await call()
    if (++calls === 1) await collectGarbage(world.ports, false, undefined)
    return answer
  }
  await expect(requireBlob(world.hooked(meanwhile), team, digest)).rejects.toMatchObject({ code: 'blob.not-found' })
})

test('an upload that nobody goes on with goes with its bytes', async () => {
  await using world = await openRegistryWorld()
  await beginUpload(world.ports, team)
  world.advance(25 * HOUR_MS)
  expect(await collectGarbage(world.ports, true, undefined)).toMatchObject({ uploads: { count: 1 } })
  expect(await collectGarbage(world.ports, false, undefined)).toMatchObject({ uploads: { count: 1 } })
  expect(await countOf(world, 'uploads')).toBe(0)
})

test('a large manifest is an object, and goes with its row', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer'], 'a', { annotations: { padding: 'x'.repeat(600_000) } })
  await pushImageText(world.ports, team, 'latest', image)
  await pushImageText(world.ports, team, 'again', image) // Its second body is doomed at once.
  await settle(world)
  expect(await world.objects()).toHaveLength(3)
  await removeManifest(world.ports, team, image.digest)
  await settle(world)
  expect(await world.objects()).toEqual([])
})

test('slices of one row come to the same end, with a run a step', async () => {
  await using world = await openRegistryWorld()
  const images = await Promise.all(['a', 'b', 'c'].map(mark => imageText([`layer ${mark}`, 'shared'], mark)))
  for (const image of images) await pushImageText(world.ports, team, image.digest, image)
  await pushDocument(world.ports, team, 'latest', await indexText(images, 'index'))
  await removeRepository(world.ports, team)
  world.advance(25 * HOUR_MS)
  for (let run = 0; run < 80; run++) await collectSlices(world.ports, 1, 1)
  for (const table of ['manifests', 'manifest_edges', 'blobs', 'repository_blobs']) {
    expect(await world.rows(`select * from ${table}`)).toEqual([])
  }
})

test('an upload that is swept at its last moment makes no blob, and says so', async () => {
  await using world = await openRegistryWorld()
  const upload = await beginUpload(world.ports, team)
  const late: Hook = async (name, call) => {
    if (name === 'batch') {
      world.advance(25 * HOUR_MS)
      await sweepObjects(world.ports, 100)
    }
    return call()
  }
  const finished = finishUpload(world.hooked(late), team, upload, await digestOf('x'), streamOf('x'), undefined)
  await expect(finished).rejects.toMatchObject({ code: 'upload.not-found' })
  expect([await countOf(world, 'blobs'), await countOf(world, 'doomed_objects')]).toEqual([0, 1])
})

test('one object that cannot be deleted does not keep the others', async () => {
  await using world = await openRegistryWorld()
  for (const text of ['a', 'b', 'c']) await pushBlob(world.ports, team, text)
  world.advance(25 * HOUR_MS)
  await collectGarbage(world.ports, false, undefined)
  world.advance(2 * HOUR_MS)
  const [poison] = await world.objects()
  const failing = { ...world.ports, blobs: { ...world.ports.blobs, delete: refuse } }
  async function refuse(key: string): Promise<void> {
    if (key === poison) throw new Error('no')
    await world.ports.blobs.delete(key)
  }
  await expect(sweepObjects(failing, 100)).rejects.toThrow('no')
  expect([await world.objects(), await countOf(world, 'doomed_objects')]).toEqual([[poison], 1])
})
