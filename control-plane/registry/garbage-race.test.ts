import { expect, test } from 'vitest'
import { digestOf } from '#shared/digest.ts'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { newId } from '#shared/domain/ids.ts'
import { parseRepository, type Repository } from '#shared/domain/repository.ts'
import { type ErrorCode, SlipwayError } from '#shared/errors.ts'
import { shareNamed, toldNames } from '#test/support/cached-steps.ts'
import { type ImageText, imageText, indexText, pushBlob, pushDocument } from '#test/support/images.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { chooseSeed, seeded } from '#test/support/seeded.ts'
import { takeTurns } from '#test/support/turns.ts'
import { sweep } from '../intent/sweep.ts'
import type { Ports } from '../ports.ts'
import { linkBlobs } from '../store/blobs.ts'
import { insertContainer } from '../store/containers.ts'
import { insertHost } from '../store/hosts.ts'
import { listRepositories } from '../store/tags.ts'
import { mountBlob, requireBlob } from './blobs.ts'
import { pruneBuildCache } from './build-cache-prune.ts'
import { collectGarbage, collectSlices } from './garbage.ts'
import { removeManifest, requireManifest } from './manifests.ts'
import { removeRepository } from './repositories.ts'
import { findImage } from './resolve.ts'
import { setRetentionRules } from './retention.ts'
import { sweepObjects } from './sweep-objects.ts'

/**
 * Pushes, pulls, removals, containers and garbage collection at once, one call of the store at a time in an order that
 * a seed decides, while hours pass. After each call nothing that a manifest or a container needs may be missing.
 */

const GRACE_MS = HOUR_MS
const ROUNDS = 60
const NAMES = ['team/a', 'team/b', 'other', 'tried/c'].map(parseRepository)
const TAGS = ['one', 'two', 'three', 'latest']
const hostId = 'aaaaaaaaaaaaaaaa' as HostId

type Chance = () => number
const pick = <T>(chance: Chance, items: readonly T[]): T => items[Math.floor(chance() * items.length)] as T

/** One party of the race. The fewer images and repositories there are, the more often two parties meet at one. */
interface Party {
  ports: Ports
  chance: Chance
  images: readonly ImageText[]
  names: readonly Repository[]
}

/** Few layers, so that images share them; one manifest is large. */
const LAYERS = ['base', 'libc', 'node', 'app one', 'app two']
const IMAGES = await Promise.all(
  Array.from({ length: 12 }, (_, at) => {
    const layers = LAYERS.filter((_, layer) => (at + 3) & (1 << (layer % 4)))
    return imageText(layers, String(at), at === 0 ? { annotations: { padding: 'x'.repeat(600_000) } } : {})
  }),
)

/** The refusals that racing with removals and with hours of silence explains. */
const EXPECTED = [
  'manifest.not-found',
  'manifest.in-use',
  'repository.not-found',
  'image.not-found',
  'image.in-use',
  'upload.not-found',
]

/** As docker does it: what the registry says is here is not sent; then the manifest, which must not be refused for it. */
async function pushSome({ ports, chance, images, names }: Party): Promise<void> {
  const repository = pick(chance, names)
  const image = pick(chance, images)
  const begun = ports.clock.now()
  for (const text of [image.config, ...image.layers]) await haveBlob(ports, repository, text, chance, names)
  try {
    await pushDocument(ports, repository, chance() < 0.3 ? image.digest : pick(chance, TAGS), image.manifest)
  } catch (error) {
    const isLate = ports.clock.now() - begun > GRACE_MS
    if (!isLate || !(error instanceof SlipwayError) || error.code !== 'manifest.blob-unknown') throw error
  }
}

async function haveBlob(
  ports: Ports,
  repository: Repository,
  text: string,
  chance: Chance,
  names: readonly Repository[],
): Promise<void> {
  const digest = await digestOf(text)
  const isHere = await requireBlob(ports, repository, digest).then(
    () => true,
    (error: SlipwayError) => error.code !== 'blob.not-found',
  )
  if (isHere) return
  if (chance() < 0.5 && (await mountBlob(ports, repository, digest, pick(chance, names)))) return
  await pushBlob(ports, repository, text)
}

/** Its images may be removed meanwhile, which is no fault. */
async function pushIndex({ ports, chance, images, names }: Party): Promise<void> {
  const repository = pick(chance, names)
  const some = [pick(chance, images), pick(chance, images)]
  try {
    for (const { digest } of some) await requireManifest(ports, repository, digest)
    await pushDocument(ports, repository, pick(chance, TAGS), await indexText(some, 'index'))
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== 'manifest.blob-unknown') throw error
  }
}

/** As a host does it: a layer that it was told of goes into an image without being sent, within the grace. */
async function buildSome({ ports, chance, images, names }: Party): Promise<void> {
  const image = pick(chance, images)
  const repository = pick(chance, names)
  const begun = ports.clock.now()
  const told = new Set<string>()
  for (const layer of image.layers) for (const name of await toldNames(ports, layer, LAYERS)) told.add(name)
  for (const [at, layer] of image.layers.entries()) {
    if (told.has(layer)) continue
    await pushBlob(ports, repository, layer)
    await whileInTime(ports, begun, 'blob.not-found', shareNamed(ports, layer, image.layers[at - 1], layer))
  }
  await pushBlob(ports, repository, image.config)
  const digests = await Promise.all(image.layers.map(digestOf))
  await linkBlobs(ports.db, repository, digests, ports.clock.now())
  const published = pushDocument(ports, repository, pick(chance, TAGS), image.manifest)
  await whileInTime(ports, begun, 'manifest.blob-unknown', published)
}

/** Hours of silence explain a refusal, nothing else does. */
async function whileInTime(ports: Ports, begun: number, code: ErrorCode, work: Promise<unknown>): Promise<void> {
  await work.catch(error => {
    const isLate = ports.clock.now() - begun > GRACE_MS
    if (!isLate || !(error instanceof SlipwayError) || error.code !== code) throw error
  })
}

/** A host whose upload was hours ago: the step is taken with its bytes there, or refused. */
async function shareLate({ ports, chance, images }: Party): Promise<void> {
  const layer = pick(chance, pick(chance, images).layers)
  await shareNamed(ports, layer, undefined, layer).catch(error => {
    if (!(error instanceof SlipwayError) || error.code !== 'blob.not-found') throw error
  })
}

async function pruneSome({ ports, chance }: Party): Promise<void> {
  const terms = [{ all: true }, { all: false, keepBytes: 12 }, { all: false, unusedFor: '1h' }]
  await pruneBuildCache(ports, pick(chance, terms))
}

async function removeSome({ ports, chance, images, names }: Party): Promise<void> {
  const repository = pick(chance, names)
  if (chance() < 0.4) return removeRepository(ports, repository)
  await removeManifest(ports, repository, chance() < 0.5 ? pick(chance, images).digest : pick(chance, TAGS))
}

async function runSome({ ports, chance, names }: Party): Promise<void> {
  const image = `${pick(chance, names)}:${pick(chance, TAGS)}`
  const begun = ports.clock.now()
  const { digest } = await findImage(ports, image, [])
  const id = newId<ContainerId>(ports.random)
  const spec = { image, imageDigest: digest } as Parameters<typeof insertContainer>[1]['spec']
  const addressIndex = 2 + Math.floor(chance() * 1e9)
  if (ports.clock.now() - begun > GRACE_MS) return
  const row = { id, name: id, hostId, spec, addressIndex, createdAt: begun }
  await insertContainer(ports.db, { ...row, goal: { kind: 'created' } })
}

async function collectSome({ ports, chance }: Party): Promise<void> {
  const kind = chance()
  if (kind < 0.7) await collectSlices(ports, 1 + Math.floor(chance() * 4), 1 + Math.floor(chance() * 5))
  else if (kind < 0.85) await sweepObjects(ports, 3)
  else if (kind < 0.95) await sweep(ports)
  else await collectGarbage(ports, chance() < 0.5, undefined)
}

const BROKEN = {
  'a manifest of a repository is missing': `select digest from repository_manifests where digest not in (select digest from manifests)`,
  'a tag leads nowhere': `select tag from tags t where not exists (select 1 from repository_manifests r
    where r.repository = t.repository and r.digest = t.digest)`,
  'a manifest names what is missing': `select child from manifest_edges
    where child not in (select digest from blobs union select digest from manifests)`,
  'a cached step names what is missing': `select key from cached_steps
    where digest is not null and digest not in (select digest from blobs)`,
  'an edge is of no manifest': `select parent from manifest_edges where parent not in (select digest from manifests)`,
  "a container's image is missing": `select id from containers where spec ->> 'imageDigest' not in (select digest from manifests)`,
  'an object is named twice': `select object_key from (select object_key from blobs union all
    select object_key from manifests where object_key is not null union all select object_key from doomed_objects
    union all select object_key from uploads) group by object_key having count(*) > 1`,
}

async function expectSound(world: RegistryWorld, call: string): Promise<void> {
  for (const [what, sql] of Object.entries(BROKEN)) {
    const found = await world.rows(sql)
    if (found.length > 0) throw new Error(`${what} after ${call}: ${JSON.stringify(found)}`)
  }
}

const KEYS = 'select object_key as key from blobs union select object_key from manifests where object_key is not null'
const EDGES = `select m.digest, count(e.child) as edges from manifests m left join manifest_edges e on e.parent = m.digest
  where m.config is not null group by m.digest`

async function expectObjects(world: RegistryWorld): Promise<void> {
  const objects = new Set(await world.objects())
  for (const { key } of await world.rows<{ key: string }>(KEYS)) expect(objects).toContain(key)
  for (const { digest, edges } of await world.rows<{ digest: string; edges: number }>(EDGES)) {
    expect(edges).toBe(1 + (IMAGES.find(image => image.digest === digest)?.layers.length ?? -1))
  }
}

const WORKS = [
  ...[pushSome, pushSome, pushSome, pushIndex, removeSome, removeSome, runSome, collectSome, collectSome],
  ...[buildSome, buildSome, shareLate, pruneSome],
]

/** Hours pass now and then, mostly just as many as make what was not touched garbage. */
function someTime(luck: number, chance: Chance): number {
  if (luck < 0.001) return chance() * 30 * HOUR_MS
  if (luck < 0.02) return 1.3 * GRACE_MS
  return chance() * (luck < 0.1 ? HOUR_MS / 6 : 2000)
}

/** Everything at once until each has had its rounds. Returns how many calls there were, and how many objects were deleted. */
async function race(world: RegistryWorld, chance: Chance): Promise<{ calls: number; deleted: number }> {
  const images = IMAGES.slice(0, 2 + Math.floor(chance() * IMAGES.length))
  const names = NAMES.slice(Math.floor(chance() * 3))
  let calls = 0
  let deleted = 0
  const afterCall = async (call: string) => {
    calls++
    if (call === 'delete') deleted++
    await expectSound(world, call)
    if (calls % 50 === 0) await expectObjects(world)
    const luck = chance()
    world.advance(someTime(luck, chance))
    if (luck > 0.995) await world.rows('delete from containers')
  }
  await takeTurns({
    chance,
    afterCall,
    tasks: WORKS.map(work => async hook => {
      const party = { ports: world.hooked(hook), chance, images, names }
      for (let round = 0; round < ROUNDS; round++) await work(party).catch(refuseOthers)
    }),
  })
  return { calls, deleted }
}

function refuseOthers(error: unknown): void {
  if (!(error instanceof SlipwayError) || !EXPECTED.includes(error.code)) throw error
}

async function removeEverything(world: RegistryWorld): Promise<void> {
  await world.rows('delete from containers')
  await pruneBuildCache(world.ports, { all: true })
  await setRetentionRules(world.ports, [])
  for (const name of await listRepositories(world.ports.db, '', 100)) {
    await removeRepository(world.ports, parseRepository(name))
  }
  for (const hours of [49, 2, 25, 2]) {
    world.advance(hours * HOUR_MS)
    await collectGarbage(world.ports, false, undefined)
    await sweep(world.ports)
  }
}

const first = chooseSeed()
test.each([first, first + 1, first + 2])('pushes race with collection, seed %i', { timeout: 120_000 }, async seed => {
  const chance = seeded(seed)
  await using world = await openRegistryWorld(seed, GRACE_MS)
  await insertHost(world.ports.db, { id: hostId, name: 'one', createdAt: 1 })
  await setRetentionRules(world.ports, [
    { repositories: 'tried/*', keepLast: 2, keepTags: ['l*'], untaggedAfter: '1h' },
  ])
  try {
    const { calls, deleted } = await race(world, chance)
    expect([calls > 2000, deleted > 20]).toEqual([true, true])
    await expectObjects(world)
    await removeEverything(world)
    for (const table of ['manifests', 'manifest_edges', 'blobs', 'repository_blobs', 'uploads', 'doomed_objects']) {
      expect([table, await world.rows(`select * from ${table}`)]).toEqual([table, []])
    }
    expect(await world.objects()).toEqual([])
  } catch (error) {
    throw new Error(`SLIPWAY_SEED=${seed} repeats this`, { cause: error })
  }
})
