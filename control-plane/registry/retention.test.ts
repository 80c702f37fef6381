import { expect, test } from 'vitest'
import { parseRepository } from '#shared/domain/repository.ts'
import { retentionRuleSchema, retentionSchema } from '#shared/protocol/retention.ts'
import {
  descriptorOf,
  type ImageText,
  imageText,
  indexText,
  pushDocument,
  pushImageText,
} from '#test/support/images.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { runContainer } from '#test/support/running-container.ts'
import { collectGarbage, collectSlices } from './garbage.ts'
import { requireManifest } from './manifests.ts'
import { setRetentionRules } from './retention.ts'

const team = parseRepository('team/app')
const other = parseRepository('other')
const DAY_MS = 24 * HOUR_MS

async function pushTags(world: RegistryWorld, repository: string, tags: string[]): Promise<ImageText[]> {
  const images = await Promise.all(tags.map(tag => imageText(['layer'], tag)))
  for (const [at, image] of images.entries()) {
    await pushImageText(world.ports, repository, tags[at] ?? '', image)
    world.advance(1000)
  }
  return images
}

const tagsOf = async (world: RegistryWorld, repository: string) =>
  (
    await world.rows<{ tag: string }>(
      `select tag from tags where repository = '${repository}' order by updated_at, tag`,
    )
  ).map(({ tag }) => tag)
const digestsOf = async (world: RegistryWorld) =>
  (await world.rows<{ digest: string }>('select digest from repository_manifests order by pushed_at')).map(
    ({ digest }) => digest,
  )
const collect = (world: RegistryWorld) => collectGarbage(world.ports, false, undefined)

const runs = (world: RegistryWorld, { digest }: ImageText) => runContainer(world, 'x', digest)

test('the last tags stay, and those whose name matches', async () => {
  await using world = await openRegistryWorld()
  await pushTags(world, team, ['v1', 'a', 'b', 'c', 'd'])
  await pushTags(world, other, ['a', 'b', 'c', 'd'])
  await setRetentionRules(world.ports, [{ repositories: 'team/*', keepLast: 2, keepTags: ['v*'] }])
  const dry = await collectGarbage(world.ports, true, undefined)
  expect(dry.tags).toEqual({ count: 2, first: ['team/app:a', 'team/app:b'] })
  expect(await tagsOf(world, team)).toHaveLength(5)
  expect((await collect(world)).tags).toEqual(dry.tags)
  expect([await tagsOf(world, team), (await tagsOf(world, other)).length]).toEqual([['v1', 'c', 'd'], 4])
})

test('fewer tags than that all stay; setting one again makes it the last', async () => {
  await using world = await openRegistryWorld()
  const [first] = await pushTags(world, team, ['a', 'b', 'c'])
  await setRetentionRules(world.ports, [{ repositories: '*', keepLast: 4 }])
  expect((await collect(world)).tags.count).toBe(0)
  await pushDocument(world.ports, team, 'a', first?.manifest ?? '')
  await setRetentionRules(world.ports, [{ repositories: '*', keepLast: 1 }])
  await collect(world)
  expect(await tagsOf(world, team)).toEqual(['a'])
})

test('a pattern may name a registry with its port', () => {
  const read = (repositories: string) => retentionRuleSchema.safeParse({ repositories }).success
  expect(['registry.example.com:5000/*', 'team/*', 'Team/*', ''].map(read)).toEqual([true, true, false, false])
})

test('the first rule that matches decides', async () => {
  await using world = await openRegistryWorld()
  for (const name of [team, other]) await pushTags(world, name, ['a', 'b'])
  await setRetentionRules(world.ports, [{ repositories: 'team/*' }, { repositories: '*', keepLast: 0 }])
  await collect(world)
  expect([await tagsOf(world, team), await tagsOf(world, other)]).toEqual([['a', 'b'], []])
})

test('what a container runs keeps its tag, its place in the repository, and its index', async () => {
  await using world = await openRegistryWorld()
  const [first, second] = await pushTags(world, team, ['a', 'b'])
  if (!first || !second) throw new Error('two images were pushed')
  await pushDocument(world.ports, team, 'index', await indexText([first, second], 'index'))
  await runs(world, first)
  world.advance(30 * DAY_MS)
  await setRetentionRules(world.ports, [{ repositories: '*', keepLast: 0, untaggedAfter: '1h' }])
  await collect(world)
  expect(await tagsOf(world, team)).toEqual(['a', 'index'])
  world.advance(30 * DAY_MS)
  await collect(world)
  expect(await digestsOf(world)).toHaveLength(3)
})

test('what has no tag goes a while after it lost its last one', async () => {
  await using world = await openRegistryWorld()
  const [first] = await pushTags(world, team, ['latest'])
  world.advance(30 * DAY_MS)
  await setRetentionRules(world.ports, [{ repositories: '*', untaggedAfter: '7d' }])
  const next = await imageText(['layer'], 'next')
  await pushImageText(world.ports, team, 'latest', next)
  world.advance(6 * DAY_MS)
  expect((await collect(world)).untagged.count).toBe(0)
  world.advance(2 * DAY_MS)
  const dry = await collectGarbage(world.ports, true, undefined)
  expect(dry).toMatchObject({ untagged: { first: [`team/app@${first?.digest}`] }, manifests: { count: 1 } })
  expect(await collect(world)).toEqual({ ...dry, dryRun: false })
  expect(await digestsOf(world)).toEqual([next.digest])
})

test('what was asked for lately stays for the grace', async () => {
  await using world = await openRegistryWorld()
  const image = await imageText(['layer'], 'a')
  await pushImageText(world.ports, team, image.digest, image)
  await setRetentionRules(world.ports, [{ repositories: '*', untaggedAfter: '1h' }])
  world.advance(3 * DAY_MS)
  await requireManifest(world.ports, team, image.digest)
  world.advance(DAY_MS / 2)
  expect((await collect(world)).untagged.count).toBe(0)
  world.advance(DAY_MS)
  expect((await collect(world)).untagged.count).toBe(1)
})

test('images of an index stay with it and go after it; referrers stay with their subject and go with it', async () => {
  await using world = await openRegistryWorld()
  const images = await Promise.all([imageText(['one'], 'a'), imageText(['two'], 'b')])
  for (const image of images) await pushImageText(world.ports, team, image.digest, image)
  const indexed = await indexText(images, 'index')
  const index = await pushDocument(world.ports, team, 'latest', indexed)
  const subject = await descriptorOf(indexed, 'application/vnd.oci.image.index.v1+json')
  const signature = await imageText(['signature'], 's', { subject })
  await pushImageText(world.ports, team, signature.digest, signature)
  await setRetentionRules(world.ports, [{ repositories: '*', keepTags: [], keepLast: 1, untaggedAfter: '7d' }])
  world.advance(30 * DAY_MS)
  await collect(world)
  expect(await digestsOf(world)).toHaveLength(4)

  await setRetentionRules(world.ports, [{ repositories: '*', keepLast: 0, untaggedAfter: '7d' }])
  await collect(world)
  world.advance(8 * DAY_MS)
  expect(await collect(world)).toMatchObject({ untagged: { count: 2 }, manifests: { count: 2 } })
  expect(await digestsOf(world)).not.toContain(index)
  await collect(world)
  expect(await digestsOf(world)).toEqual([])
})

test('a young referrer goes with an old subject', async () => {
  await using world = await openRegistryWorld()
  const [image] = await pushTags(world, team, ['a'])
  await setRetentionRules(world.ports, [{ repositories: '*', keepLast: 0, untaggedAfter: '7d' }])
  await collect(world)
  world.advance(6 * DAY_MS)
  const subject = await descriptorOf(image?.manifest ?? '', 'application/vnd.oci.image.manifest.v1+json')
  const signature = await imageText(['signature'], 's', { subject })
  await pushImageText(world.ports, team, signature.digest, signature)
  world.advance(2 * DAY_MS)
  expect((await collect(world)).untagged.count).toBe(2)
})

test('slices of one row come to the same end', async () => {
  await using world = await openRegistryWorld()
  for (const name of [team, other]) await pushTags(world, name, ['v1', 'a', 'b', 'c'])
  await setRetentionRules(world.ports, [{ repositories: '*', keepLast: 1, keepTags: ['v*'], untaggedAfter: '1d' }])
  for (let run = 0; run < 60; run++) await collectSlices(world.ports, 1, 1)
  expect([await tagsOf(world, team), await tagsOf(world, other)]).toEqual([
    ['v1', 'c'],
    ['v1', 'c'],
  ])
  world.advance(3 * DAY_MS)
  for (let run = 0; run < 120; run++) await collectSlices(world.ports, 1, 1)
  expect(await world.rows('select distinct digest from repository_manifests')).toHaveLength(2)
})

test('rules that are not what they say are refused', () => {
  const refused = [
    { repositories: 'UPPER', keepLast: 1 },
    { repositories: '*', keepTags: ['v*'] },
    { repositories: '*', untaggedAfter: 'soon' },
    { repositories: '*', keepLast: -1 },
  ]
  for (const rule of refused) expect(retentionSchema.safeParse({ rules: [rule] }).success).toBe(false)
})
