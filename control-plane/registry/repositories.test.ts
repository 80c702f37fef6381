import { sql } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { digestOf } from '#shared/digest.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { imageText, indexText, pushDocument, pushImageText } from '#test/support/images.ts'
import { openRegistryWorld } from '#test/support/registry-world.ts'
import { runContainer } from '#test/support/running-container.ts'
import { imagePage, inspectImage, removeImage } from './images.ts'
import { takeLayerSizes } from './layer-sizes.ts'
import { removeManifest, requireRepository } from './manifests.ts'
import { inspectRepository, removeRepository, repositoryPage, tagPage } from './repositories.ts'

const team = parseRepository('team/app')
const other = parseRepository('other')
const bytes = (...texts: string[]) => texts.reduce((sum, text) => sum + text.length, 0)

async function twoRepositories() {
  const world = await openRegistryWorld()
  const [first, second] = await Promise.all([imageText(['shared layer', 'own'], 'a'), imageText(['shared layer'], 'b')])
  await pushImageText(world.ports, team, 'one', first)
  await pushImageText(world.ports, team, 'two', first)
  await pushImageText(world.ports, other, 'latest', second)
  return { world, first, second }
}

test('repositories by name, with counts and the bytes that they need, each blob once', async () => {
  const { world, first, second } = await twoRepositories()
  await using _ = world
  const index = await indexText([first], 'index')
  await pushDocument(world.ports, team, 'index', index)
  const rows = await repositoryPage(world.ports, '', 10)
  expect(rows).toMatchObject([
    { name: 'other', tagCount: 1, manifestCount: 1, size: bytes(second.config, 'shared layer') },
    { name: 'team/app', tagCount: 3, manifestCount: 2, size: bytes(first.config, 'shared layer', 'own') },
  ])
  expect(await repositoryPage(world.ports, 'other', 10)).toHaveLength(1)
  expect(await tagPage(world.ports, team, '', 10)).toMatchObject([
    { tag: 'index', mediaType: 'application/vnd.oci.image.index.v1+json', size: rows[1]?.size },
    { tag: 'one', digest: first.digest, size: rows[1]?.size },
    { tag: 'two', digest: first.digest },
  ])
})

test('usage says what other repositories need too', async () => {
  const { world, first } = await twoRepositories()
  await using _ = world
  const total = bytes(first.config, 'shared layer', 'own')
  const shared = bytes('shared layer')
  expect(await inspectRepository(world.ports, team)).toMatchObject({ usage: { total, shared, unique: total - shared } })
  await removeRepository(world.ports, other)
  expect(await inspectRepository(world.ports, team)).toMatchObject({ usage: { total, shared: 0, unique: total } })
  await expect(inspectRepository(world.ports, other)).rejects.toMatchObject({ code: 'repository.not-found' })
  await expect(removeRepository(world.ports, other)).rejects.toMatchObject({ code: 'repository.not-found' })
})

test('images say what other images need too', async () => {
  const { world, first } = await twoRepositories()
  await using _ = world
  const expected = { sharedSize: bytes('shared layer'), uniqueSize: bytes(first.config, 'own') }
  expect(await inspectImage(world.ports, 'team/app:one')).toMatchObject(expected)
  const page = await imagePage(world.ports, { createdAt: -1, digest: '' }, 10, team)
  expect(page.map(({ view }) => view)).toMatchObject([expected])
})

test('an image bears the tags of indexes, too, which go when no container needs them', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  const image = await imageText(['layer'], 'a')
  await pushImageText(ports, team, image.digest, image)
  await pushDocument(ports, team, 'multi', await indexText([image], 'index'))
  const page = await imagePage(ports, { createdAt: -1, digest: '' }, 10, undefined)
  expect(page.map(({ view }) => view.tags)).toEqual([['team/app:multi']])
  expect(await inspectImage(ports, 'team/app:multi')).toMatchObject({ tags: ['team/app:multi'], digest: image.digest })

  await runContainer(world, 'team/app:multi', image.digest)
  await expect(removeImage(ports, 'team/app:multi')).rejects.toMatchObject({ facts: { containers: ['web'] } })
  await pushDocument(ports, team, 'plain', image.manifest)
  expect((await inspectImage(ports, `team/app@${image.digest}`)).tags).toEqual(['team/app:plain', 'team/app:multi'])
  await removeImage(ports, 'team/app:multi') // The container's image has a tag of its own.
  expect((await inspectImage(ports, 'team/app:plain')).tags).toEqual(['team/app:plain'])
})

test('an unknown registry is said to be one, and what was pushed here to go by its name alone', async () => {
  await using world = await openRegistryWorld()
  const asked = inspectImage(world.ports, 'localhost:7117/team/app:1')
  await expect(asked).rejects.toThrow('localhost:7117 is not configured as an upstream')
  await expect(asked).rejects.toThrow('(team/app)')
  const pulled = requireRepository(world.ports, parseRepository('example.com/team/app'))
  await expect(pulled).rejects.toThrow('example.com is not configured as an upstream')
  await expect(requireRepository(world.ports, team)).rejects.toThrow(/no repository team\/app\.$/)
})

test('a deletion that an index forbids names that index', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer'], 'a')
  await pushImageText(world.ports, team, image.digest, image)
  const index = await pushDocument(world.ports, team, 'multi', await indexText([image], 'index'))
  await expect(removeManifest(world.ports, team, image.digest)).rejects.toThrow(index)
  await removeManifest(world.ports, team, index)
  await removeManifest(world.ports, team, image.digest)
})

test('the unpacked size of an image is known once that of each layer is, and the first word counts', async () => {
  const { world } = await twoRepositories()
  await using _ = world
  const { ports } = world
  const unpacked = async () => (await inspectImage(ports, 'team/app:one')).unpackedSize
  const [shared, own] = await Promise.all(['shared layer', 'own'].map(text => digestOf(text)))
  if (!shared || !own) throw new Error('Two digests were made.')
  expect(await unpacked()).toBeNull()
  await takeLayerSizes(ports, [{ digest: shared, unpackedBytes: 1000 }])
  expect(await unpacked()).toBeNull()
  await takeLayerSizes(ports, [{ digest: own, unpackedBytes: 200 }])
  await takeLayerSizes(ports, [{ digest: own, unpackedBytes: 999 }])
  expect(await unpacked()).toBe(1200)
  await ports.db.run(sql`delete from blobs where digest = ${own}`) // As where an upstream alone has it.
  expect(await unpacked()).toBeNull()
})
