import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { getPlatformProxy } from 'wrangler'
import { sweep } from '#control-plane/intent/sweep.ts'
import type { Ports } from '#control-plane/ports.ts'
import { foundSteps } from '#control-plane/registry/build-cache.ts'
import { sweepBuildCache } from '#control-plane/registry/build-cache-bounds.ts'
import { buildCacheUsage, pruneBuildCache } from '#control-plane/registry/build-cache-prune.ts'
import { collectGarbage } from '#control-plane/registry/garbage.ts'
import { imagePage } from '#control-plane/registry/images.ts'
import { inspectRepository, removeRepository, repositoryPage, tagPage } from '#control-plane/registry/repositories.ts'
import { setRetentionRules } from '#control-plane/registry/retention.ts'
import { type D1Like, openDatabase } from '#control-plane/store/database.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { shareNamed, shareWithLayer, stepKey, toldNames } from '#test/support/cached-steps.ts'
import { imageText, indexText, pushDocument, pushImageText } from '#test/support/images.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'

/** Statements of garbage collection, retention, usage and the build cache on D1 itself, which is not the SQLite of Node. */

const project = join(import.meta.dirname, '../..')
const team = parseRepository('team/app')
const other = parseRepository('other')
type Database = D1Like & { prepare(sql: string): { run(): Promise<unknown> } }
let edge: Awaited<ReturnType<typeof getPlatformProxy<{ DB: Database }>>>
let world: RegistryWorld
let ports: Ports

beforeAll(async () => {
  Object.assign(process.env, { WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' })
  const configPath = join(project, 'infra/control-plane/wrangler.jsonc')
  edge = await getPlatformProxy<{ DB: Database }>({ configPath, persist: false })
  const database = edge.env.DB
  for (const sql of migrations()) await database.prepare(sql).run()
  world = await openRegistryWorld()
  ports = { ...world.ports, db: openDatabase(database) }
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await edge?.dispose()
})

function migrations(): string[] {
  const folder = join(project, 'control-plane/store/migrations')
  const files = readdirSync(folder).filter(name => name.endsWith('.sql'))
  return files.sort().flatMap(name => readFileSync(join(folder, name), 'utf8').split('--> statement-breakpoint'))
}

test('usage, retention and collection come to the same end on D1', async () => {
  const images = await Promise.all([imageText(['one', 'shared'], 'a'), imageText(['two', 'shared'], 'b')])
  for (const [at, image] of images.entries()) await pushImageText(ports, team, `t${at}`, image)
  await pushDocument(ports, team, 'index', await indexText(images, 'index'))
  const large = await imageText(['shared'], 'c', { annotations: { padding: 'x'.repeat(600_000) } })
  await pushImageText(ports, other, 'large', large)

  expect(await repositoryPage(ports, '', 10)).toMatchObject([{ name: 'other' }, { name: 'team/app', manifestCount: 3 }])
  expect((await inspectRepository(ports, team)).usage.shared).toBe('shared'.length)
  expect(await tagPage(ports, team, '', 10)).toHaveLength(3)
  expect(await imagePage(ports, { createdAt: -1, digest: '' }, 10, undefined)).toHaveLength(3)

  await setRetentionRules(ports, [{ repositories: 'team/*', keepLast: 0, untaggedAfter: '1h' }])
  expect((await collectGarbage(ports, false, undefined)).tags.count).toBe(3)
  world.advance(30 * HOUR_MS)
  await removeRepository(ports, other)
  for (const manifests of [2, 2, 0]) {
    const dry = await collectGarbage(ports, true, undefined)
    const wet = await collectGarbage(ports, false, undefined)
    for (const { first } of [dry.manifests, wet.manifests, dry.blobs, wet.blobs]) first.sort()
    expect(wet).toEqual({ ...dry, dryRun: false })
    expect(wet.manifests.count).toBe(manifests)
  }
  world.advance(2 * HOUR_MS)
  await sweep(ports)
  expect(await world.objects()).toEqual([])
})

test('steps of builds are told, kept, bounded and pruned alike on D1', async () => {
  const names = ['base', 'apt', 'copy a', 'copy b', 'label', 'late']
  const told = (name: string) => toldNames(ports, name, names)
  await shareWithLayer(ports, 'base')
  await shareWithLayer(ports, 'apt', 'base')
  for (const mark of ['a', 'b']) {
    world.advance(1)
    await shareWithLayer(ports, `copy ${mark}`, 'apt')
  }
  await shareNamed(ports, 'label', 'copy b')
  await expect(shareNamed(ports, 'late', 'base', 'nowhere')).rejects.toMatchObject({ code: 'blob.not-found' })
  expect(await told('base')).toEqual(['base', 'apt', 'copy b', 'copy a', 'label'])
  world.advance(30 * HOUR_MS)
  expect((await collectGarbage(ports, true, undefined)).blobs.count).toBe(0)
  expect((await collectGarbage(ports, false, undefined)).blobs.count).toBe(0)
  expect((await foundSteps(ports, await stepKey('copy b'))).steps).toHaveLength(2)

  const { bytes } = await buildCacheUsage(ports)
  const buildCache = { maxBytes: bytes - 1, keepMs: 24 * HOUR_MS }
  await sweepBuildCache({ ...ports, config: { ...ports.config, buildCache } })
  expect([await told('base'), await told('copy b')]).toEqual([[], ['copy b', 'label']])
  expect(await pruneBuildCache(ports, { all: false, keepBytes: 1 })).toMatchObject({ steps: 1, isComplete: true })
  expect(await pruneBuildCache(ports, { all: true })).toMatchObject({ steps: 1, bytes: 0 })
  world.advance(30 * HOUR_MS)
  const dry = await collectGarbage(ports, true, undefined)
  expect(dry.blobs.count).toBe(4)
  expect((await collectGarbage(ports, false, undefined)).blobs).toMatchObject({ count: 4, bytes: dry.blobs.bytes })
})
