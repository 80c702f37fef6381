import { expect, test } from 'vitest'
import { digestOf } from '#shared/digest.ts'
import { FOLLOWING_STEPS } from '#shared/protocol/build-cache.ts'
import { BUILD_HOST, shareNamed, shareWithLayer, stepKey, stepResult, toldNames } from '#test/support/cached-steps.ts'
import { imageText, pushBlob, pushDocument } from '#test/support/images.ts'
import { HOUR_MS, type Hook, openRegistryWorld } from '#test/support/registry-world.ts'
import { forgetBlob } from '../store/blobs.ts'
import { foundSteps, shareStep } from './build-cache.ts'
import { pruneBuildCache } from './build-cache-prune.ts'
import { collectGarbage } from './garbage.ts'

const TREE = ['base', 'apt', 'copy a', 'copy b', 'make a', 'make b', 'label', 'other']

test('a step is told with what was built on it, nearest first, of siblings the last used first', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await shareWithLayer(ports, 'base')
  await shareWithLayer(ports, 'apt', 'base')
  for (const mark of ['a', 'b']) {
    world.advance(1)
    await shareWithLayer(ports, `copy ${mark}`, 'apt')
    await shareWithLayer(ports, `make ${mark}`, `copy ${mark}`)
  }
  await shareNamed(ports, 'label', 'make b')
  await shareWithLayer(ports, 'other')
  expect(await toldNames(ports, 'apt', TREE)).toEqual(['apt', 'copy b', 'copy a', 'make b', 'make a', 'label'])
  expect(await toldNames(ports, 'base', TREE)).toHaveLength(7)
  expect(await toldNames(ports, 'label', TREE)).toEqual(['label'])
  expect(await toldNames(ports, 'never built', TREE)).toEqual([])
  const { steps } = await foundSteps(ports, await stepKey('make b'))
  expect(steps.map(({ result }) => result)).toEqual([await stepResult('layer of make b'), await stepResult(undefined)])
})

test('a step whose bytes the store lost is not told, nor what was built on it; it may be told of anew', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await shareWithLayer(ports, 'base')
  await shareWithLayer(ports, 'apt', 'base')
  await shareWithLayer(ports, 'copy a', 'apt')
  await shareWithLayer(ports, 'copy b', 'base')
  const digest = await digestOf('layer of apt')
  const [blob] = await world.rows<{ objectKey: string }>(
    `select object_key as objectKey from blobs where digest = '${digest}'`,
  )
  await forgetBlob(ports.db, { digest, objectKey: blob?.objectKey ?? '' })
  expect(await toldNames(ports, 'base', TREE)).toEqual(['base', 'copy b'])
  expect(await toldNames(ports, 'apt', TREE)).toEqual([])
  expect(await toldNames(ports, 'copy a', TREE)).toEqual(['copy a'])
  await shareWithLayer(ports, 'apt', 'base', 'built again')
  expect(await toldNames(ports, 'apt', TREE)).toEqual(['apt', 'copy a'])
})

test('an answer has a bound: a long chain, many siblings, a circle', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  const chain = Array.from({ length: 100 }, (_, at) => `step ${at}`)
  for (const [at, name] of chain.entries()) await shareNamed(ports, name, chain[at - 1])
  expect(await toldNames(ports, 'step 10', chain)).toEqual(chain.slice(10, 10 + FOLLOWING_STEPS + 1))
  const commits = Array.from({ length: 50 }, (_, at) => `commit ${at}`)
  for (const commit of commits) {
    world.advance(1)
    await shareNamed(ports, commit, 'step 99')
  }
  expect(await toldNames(ports, 'step 99', [...chain, ...commits])).toEqual([
    'step 99',
    ...commits.toReversed().slice(0, 8),
  ])
  await shareNamed(ports, 'hen', 'egg')
  await shareNamed(ports, 'egg', 'hen')
  expect((await toldNames(ports, 'hen', ['hen', 'egg'])).length).toBeLessThanOrEqual(FOLLOWING_STEPS + 1)
})

test('a layer must be in the store, with its size; the first word about a step stays', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await expect(shareNamed(ports, 'base', undefined, 'layer')).rejects.toMatchObject({ code: 'blob.not-found' })
  await pushBlob(ports, 'cache/layers', 'layer')
  const { created, layer } = await stepResult('layer')
  if (!layer) throw new Error('no layer')
  const lie = { isAnew: false, result: { created, layer: { ...layer, size: 1 } } }
  await expect(shareStep(ports, BUILD_HOST, await stepKey('base'), lie)).rejects.toMatchObject({
    code: 'blob.size-mismatch',
  })
  expect(await toldNames(ports, 'base', ['base'])).toEqual([])
  await shareNamed(ports, 'base', undefined, 'layer')
  await shareNamed(ports, 'base', undefined, 'layer')
  await shareWithLayer(ports, 'base', undefined, 'done by another host')
  const { steps } = await foundSteps(ports, await stepKey('base'))
  expect(steps).toEqual([{ key: await stepKey('base'), result: { created, layer } }])
})

test('answers within the hour write nothing; a later one counts as a use', async () => {
  await using world = await openRegistryWorld()
  await shareWithLayer(world.ports, 'base')
  await shareWithLayer(world.ports, 'apt', 'base')
  const statements: string[] = []
  const watched = world.hooked((sql, call) => {
    statements.push(sql)
    return call()
  })
  world.advance(5 * 60_000)
  await foundSteps(watched, await stepKey('base'))
  expect(statements).toHaveLength(1)
  world.advance(2 * HOUR_MS)
  await foundSteps(watched, await stepKey('base'))
  const [used] = await world.rows<{ at: number }>('select min(used_at) as at from cached_steps')
  expect(used?.at).toBe(world.ports.clock.now())
  statements.length = 0
  await foundSteps(watched, await stepKey('base'))
  expect(statements).toHaveLength(1)
})

test('garbage collection keeps what a step names, the dry one too; after the step it goes', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await shareWithLayer(ports, 'base')
  await pushBlob(ports, 'cache/layers', 'of nobody')
  world.advance(25 * HOUR_MS)
  const lonely = { count: 1, first: [await digestOf('of nobody')] }
  const dry = await collectGarbage(ports, true, undefined)
  expect([dry.blobs, dry.links]).toMatchObject([lonely, { count: 1 }])
  const wet = await collectGarbage(ports, false, undefined)
  expect([wet.blobs, wet.links]).toMatchObject([lonely, { count: 1 }])
  expect(await toldNames(ports, 'base', ['base'])).toEqual(['base'])
  await pruneBuildCache(ports, { all: true })
  expect((await collectGarbage(ports, true, undefined)).blobs.count).toBe(0) // It was told of a moment ago.
  world.advance(25 * HOUR_MS)
  expect((await collectGarbage(ports, true, undefined)).blobs.count).toBe(1)
  expect((await collectGarbage(ports, false, undefined)).blobs.count).toBe(1)
})

test('who was told of a layer has the grace to name it, though its step goes', async () => {
  await using world = await openRegistryWorld()
  const { ports } = world
  await shareWithLayer(ports, 'base', undefined, 'layer')
  world.advance(48 * HOUR_MS)
  expect(await toldNames(ports, 'base', ['base'])).toEqual(['base'])
  await pruneBuildCache(ports, { all: true })
  world.advance(23 * HOUR_MS)
  await collectGarbage(ports, false, undefined)
  const image = await imageText(['layer'], 'a')
  await pushBlob(ports, 'cache/layers', image.config)
  await pushDocument(ports, 'cache/layers', 'late', image.manifest)
})

test('a step that goes while it is asked for is not told', async () => {
  await using world = await openRegistryWorld()
  await shareWithLayer(world.ports, 'base')
  await shareWithLayer(world.ports, 'apt', 'base')
  world.advance(48 * HOUR_MS)
  let calls = 0
  const meanwhile: Hook = async (_name, call) => {
    const answer = await call()
    if (++calls === 1) {
      await pruneBuildCache(world.ports, { all: true })
      await collectGarbage(world.ports, false, undefined)
    }
    return answer
  }
  expect(await foundSteps(world.hooked(meanwhile), await stepKey('base'))).toEqual({ steps: [] })
})

test('a blob that is collected while its step is told of is refused, and the other way round it stays', async () => {
  for (const isCollectedFirst of [true, false]) {
    await using world = await openRegistryWorld()
    await pushBlob(world.ports, 'cache/layers', 'layer')
    world.advance(48 * HOUR_MS)
    if (isCollectedFirst) await collectGarbage(world.ports, false, undefined)
    const shared = shareNamed(world.ports, 'base', undefined, 'layer')
    if (isCollectedFirst) await expect(shared).rejects.toMatchObject({ code: 'blob.not-found' })
    else await shared
    await collectGarbage(world.ports, false, undefined)
    expect(await toldNames(world.ports, 'base', ['base'])).toEqual(isCollectedFirst ? [] : ['base'])
  }
})

test('turned off, it takes nothing and tells nothing', async () => {
  await using world = await openRegistryWorld()
  await shareWithLayer(world.ports, 'base')
  const { config } = world.ports
  const off = { ...world.ports, config: { ...config, buildCache: { ...config.buildCache, maxBytes: 0 } } }
  expect(await toldNames(off, 'base', ['base'])).toEqual([])
  await shareNamed(off, 'apt', 'base', 'layer that is nowhere')
  expect(await world.rows('select key from cached_steps')).toHaveLength(1)
})
