import { expect, test } from 'vitest'
import { pruneBuildCacheSchema } from '#shared/protocol/build-cache-usage.ts'
import { shareNamed, shareWithLayer, toldNames } from '#test/support/cached-steps.ts'
import { imageText, pushImageText } from '#test/support/images.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { sweep } from '../intent/sweep.ts'
import type { Ports } from '../ports.ts'
import { MAX_STEPS, sweepBuildCache } from './build-cache-bounds.ts'
import { buildCacheUsage, pruneBuildCache } from './build-cache-prune.ts'

const KIB = 1024
const layer = (mark: string) => mark.padEnd(KIB, '.')
const asked = (body: unknown) => pruneBuildCacheSchema.parse(body)

function bounded({ ports }: RegistryWorld, maxBytes: number): Ports {
  return { ...ports, config: { ...ports.config, buildCache: { ...ports.config.buildCache, maxBytes } } }
}

/** A KiB each, an hour between them: `a` is the oldest. */
async function fill(world: RegistryWorld, names: readonly string[]): Promise<void> {
  for (const name of names) {
    world.advance(HOUR_MS)
    await shareWithLayer(world.ports, name, undefined, layer(name))
  }
}

async function remaining(world: RegistryWorld, names: readonly string[]): Promise<string[]> {
  const told = await Promise.all(names.map(name => toldNames(world.ports, name, names)))
  return told.flat()
}

const TEN = [...'abcdefghij']

test('the sweep removes what was not used for its time; a use prolongs it', async () => {
  await using world = await openRegistryWorld()
  await fill(world, ['a', 'b'])
  world.advance(10 * 24 * HOUR_MS)
  await toldNames(world.ports, 'a', ['a'])
  world.advance(5 * 24 * HOUR_MS)
  await sweep(world.ports)
  expect(await world.rows('select key from cached_steps')).toHaveLength(1)
  expect(await remaining(world, ['a', 'b'])).toEqual(['a'])
})

test('above the bound the longest unused layers go, down to nine tenths of it; at the bound nothing does', async () => {
  await using world = await openRegistryWorld()
  await fill(world, TEN)
  await sweepBuildCache(bounded(world, 10 * KIB))
  expect(await buildCacheUsage(world.ports)).toMatchObject({ steps: 10, bytes: 10 * KIB })
  world.advance(HOUR_MS)
  await toldNames(world.ports, 'a', TEN)
  await sweepBuildCache(bounded(world, 10 * KIB - 1))
  expect(await remaining(world, TEN)).toEqual(['a', ...TEN.slice(3)])
})

test('a layer counts once, stays while any step of it is in use, and goes with all of them', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await fill(world, ['a', 'b', 'c'])
  await shareNamed(ports, 'a again', undefined, layer('a'))
  expect(await buildCacheUsage(ports)).toMatchObject({ steps: 4, layers: 3, bytes: 3 * KIB })
  expect(await pruneBuildCache(ports, asked({ keepBytes: 2 * KIB }))).toMatchObject({ steps: 1, bytes: KIB })
  expect(await remaining(world, ['a', 'b', 'c', 'a again'])).toEqual(['a', 'c', 'a again'])
  await fill(world, ['d'])
  expect(await pruneBuildCache(ports, asked({ keepBytes: KIB }))).toMatchObject({ steps: 3, bytes: 2 * KIB })
  expect(await remaining(world, ['a', 'b', 'c', 'd', 'a again'])).toEqual(['d'])
})

test('looks at the totals now and then; a run that did not come to its end is gone on with at once', async () => {
  await using world = await openRegistryWorld()
  const ports = bounded(world, 10 * KIB)
  await sweepBuildCache(ports)
  await world.rows(`insert into cached_steps (key, result, digest, size, created_at, used_at, host_id)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
    select printf('%064d', i), '{"created":"2026-11-25T12:00:00Z"}', printf('sha256:%064d', i), 1024, 0,
      ${ports.clock.now()} + i, 'h' from n`)
  const left = async () => (await buildCacheUsage(world.ports)).steps
  await sweepBuildCache(ports)
  expect(await left()).toBe(5000)
  world.advance(10 * 60_000)
  const counts: number[] = []
  for (let run = 0; run < 3; run++) {
    await sweepBuildCache(ports)
    counts.push(await left())
  }
  expect(counts).toEqual([3000, 1000, 9])
})

test('steps without a layer have a bound too: their number', async () => {
  await using world = await openRegistryWorld()
  await world.rows(`insert into cached_steps (key, result, created_at, used_at, host_id)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${MAX_STEPS + 1})
    select printf('%064d', i), '{"created":"2026-11-25T12:00:00Z"}', 0, ${world.ports.clock.now()} + i, 'h' from n`)
  for (let run = 0; run < 7; run++) await sweepBuildCache(world.ports)
  const [left] = await world.rows<{ count: number; first: string }>(
    'select count(*) as count, min(key) as first from cached_steps',
  )
  expect([left?.count, Number(left?.first)]).toEqual([MAX_STEPS * 0.9, MAX_STEPS * 0.1 + 2])
})

test('a bound of 0 empties it', async () => {
  await using world = await openRegistryWorld()
  await fill(world, ['a'])
  await shareNamed(world.ports, 'label', 'a')
  for (let run = 0; run < 2; run++) await sweepBuildCache(bounded(world, 0))
  expect(await world.rows('select key from cached_steps')).toEqual([])
})

test('prune: by age, by bytes, by both, all; images keep their layers', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await fill(world, TEN)
  await pushImageText(ports, 'team/app', 'latest', await imageText([layer('a')], 'x'))
  world.advance(1)
  expect(await buildCacheUsage(ports)).toMatchObject({
    ...{ steps: 10, layers: 10, bytes: 10 * KIB, reclaimableBytes: 9 * KIB },
    limits: { steps: MAX_STEPS, unusedFor: '14d', bytes: 50 * KIB ** 3 },
  })
  expect(await pruneBuildCache(ports, asked({ unusedFor: '8h' }))).toEqual({
    ...{ steps: 2, bytes: 2 * KIB, reclaimableBytes: KIB, isComplete: true },
  })
  expect(await pruneBuildCache(ports, asked({ unusedFor: '7h', keepBytes: '1k' }))).toMatchObject({ steps: 1 })
  expect(await pruneBuildCache(ports, asked({ keepBytes: '6k' }))).toMatchObject({ steps: 1 })
  expect(await pruneBuildCache(ports, asked({ keepBytes: '6k' }))).toMatchObject({ steps: 0 })
  expect(await remaining(world, TEN)).toEqual(TEN.slice(4))
  expect(await pruneBuildCache(ports, asked({ all: true }))).toMatchObject({ steps: 6, bytes: 6 * KIB })
  const { oldestUseAt, ...empty } = await buildCacheUsage(ports)
  expect([oldestUseAt, empty.steps, empty.bytes]).toEqual([undefined, 0, 0])
})

test('a prune of more than one statement removes has them all, or says that it has not', async () => {
  await using world = await openRegistryWorld()
  const many = `insert into cached_steps (key, result, created_at, used_at, host_id)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 12000)
    select printf('%064d', i), '{}', 0, i, 'h' from n`
  await world.rows(many)
  expect(await pruneBuildCache(world.ports, asked({ all: true }))).toMatchObject({ steps: 12_000, isComplete: true })
  await world.rows(many)
  const hurried = { ...world.ports, config: { ...world.ports.config, registrySteps: 2 } }
  expect(await pruneBuildCache(hurried, asked({ all: true }))).toMatchObject({ steps: 10_000, isComplete: false })
})

test.each([0, '0'])('to keep %j bytes takes every step, those without a layer, too', async keepBytes => {
  await using world = await openRegistryWorld()
  await fill(world, TEN)
  const { steps } = await buildCacheUsage(world.ports)
  expect(await pruneBuildCache(world.ports, { all: false, keepBytes })).toMatchObject({ steps, bytes: 10 * KIB })
  expect(await buildCacheUsage(world.ports)).toMatchObject({ steps: 0 })
})
