import { describe, expect, test } from 'vitest'
import { digestOf } from '#shared/digest.ts'
import { EMPTY_CONFIG, IN_TOTO } from '#shared/domain/attestation.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { descriptorOf, imageText, pushBlob, pushDocument, pushImageText, streamOf } from '#test/support/images.ts'
import { HOUR_MS, type Hook, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { sweep } from '../intent/sweep.ts'
import type { Ports } from '../ports.ts'
import { insertBuild } from '../store/builds.ts'
import { insertHost } from '../store/hosts.ts'
import { listRepositories } from '../store/tags.ts'
import { mountBlob } from './blobs.ts'
import { collectGarbage } from './garbage.ts'
import { missingBlobs, takeUpload } from './host-uploads.ts'
import { removeManifest } from './manifests.ts'
import { publishImage } from './publish.ts'
import { removeRepository } from './repositories.ts'
import { sweepObjects } from './sweep-objects.ts'
import { appendToUpload, beginUpload, cancelUpload, finishUpload } from './uploads.ts'

/**
 * Every way that bytes take into the registry and out of it, killed at every call of the store and of the blob store.
 * After the grace the blob store must hold the objects that rows name, and no other.
 */

const team = parseRepository('team/app')
const other = parseRepository('other')
const hostId = 'aaaaaaaaaaaaaaaa' as HostId
const buildId = 'cccccccccccccccc' as BuildId
const image = await imageText(['layer one', 'layer two'], 'a')
const large = await imageText(['layer one'], 'b', { annotations: { padding: 'x'.repeat(600_000) } })

interface Way {
  name: string
  before?(ports: Ports): Promise<unknown>
  run(ports: Ports): Promise<unknown>
  /** What the registry refuses by itself. */
  refuses?: true
}

const WAYS: Way[] = [
  { name: 'push an image', run: ports => pushImageText(ports, team, 'latest', image) },
  { name: 'push a large manifest', run: ports => pushImageText(ports, team, 'latest', large) },
  {
    name: 'push a large manifest that is there',
    before: ports => pushImageText(ports, team, 'latest', large),
    run: ports => pushDocument(ports, team, 'again', large.manifest),
  },
  {
    name: 'push a large manifest without its blobs',
    run: ports => pushDocument(ports, team, 'latest', large.manifest),
    refuses: true,
  },
  {
    name: 'upload in chunks',
    run: async ports => {
      const begun = await appendToUpload(ports, await beginUpload(ports, team), streamOf('layer '), undefined)
      await finishUpload(ports, team, begun, await digestOf('layer one'), streamOf('one'), undefined)
    },
  },
  {
    name: 'upload in chunks what is there',
    before: ports => pushBlob(ports, team, 'layer one'),
    run: async ports => {
      const begun = await appendToUpload(ports, await beginUpload(ports, other), streamOf('layer '), undefined)
      await finishUpload(ports, other, begun, await digestOf('layer one'), streamOf('one'), undefined)
    },
  },
  {
    name: 'upload other bytes',
    run: async ports => {
      const begun = await appendToUpload(ports, await beginUpload(ports, team), streamOf('layer '), undefined)
      await finishUpload(ports, team, begun, await digestOf('else'), streamOf('one'), undefined)
    },
    refuses: true,
  },
  {
    name: 'cancel an upload',
    run: async ports => {
      const begun = await appendToUpload(ports, await beginUpload(ports, team), streamOf('layer '), undefined)
      await cancelUpload(ports, begun)
    },
  },
  {
    name: 'mount a blob',
    before: ports => pushBlob(ports, team, 'layer one'),
    run: async ports => mountBlob(ports, other, await digestOf('layer one'), team),
  },
  { name: 'publish a build', before: givenBuild, run: ports => publish(ports, []) },
  {
    name: 'publish a build with an attestation',
    before: givenBuild,
    run: ports => publish(ports, ['{"a":"statement"}']),
  },
  {
    name: 'remove and collect',
    before: async ports => {
      await pushImageText(ports, team, 'latest', image)
      await pushImageText(ports, other, 'latest', large)
    },
    run: async ports => {
      await removeManifest(ports, team, image.digest)
      await removeManifest(ports, other, large.digest)
      await ports.clock.sleep(25 * HOUR_MS)
      await collectGarbage(ports, false, undefined)
      await ports.clock.sleep(2 * HOUR_MS)
      await sweepObjects(ports, 100)
    },
  },
]

async function givenBuild({ db }: Ports): Promise<void> {
  await insertHost(db, { id: hostId, name: 'one', createdAt: 1 })
  const source = { kind: 'context', contextId: 'x' }
  const spec = {
    kind: 'dockerfile',
    source,
    dockerfile: 'Dockerfile',
    args: {},
    noCache: false,
    tags: ['team/app:1', 'other:1'],
  }
  await insertBuild(db, { id: buildId, hostId, spec: spec as Parameters<typeof insertBuild>[1]['spec'], createdAt: 1 })
}

async function attestationText(statement: string): Promise<string> {
  return JSON.stringify({
    ...{ schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, artifactType: IN_TOTO },
    config: await descriptorOf(EMPTY_CONFIG.text, EMPTY_CONFIG.mediaType),
    layers: [await descriptorOf(statement, IN_TOTO)],
    subject: await descriptorOf(image.manifest, MEDIA_TYPES.manifest),
  })
}

/** As an agent does it: what is missing goes up by signed URLs, then the image appears. */
async function publish(ports: Ports, statements: string[]): Promise<void> {
  const texts = [...image.layers, ...statements]
  const layers = await Promise.all(texts.map(text => descriptorOf(text, MEDIA_TYPES.layer)))
  const { missing } = await missingBlobs(ports, hostId, layers)
  for (const blob of missing) {
    const text = texts[layers.findIndex(layer => layer.digest === blob.digest)] ?? ''
    const url = 'upload' in blob ? blob.upload.url : ''
    await ports.blobs.put(new URL(url).pathname.slice('/blobs/'.length), new TextEncoder().encode(text))
    await takeUpload(ports, hostId, blob.digest)
  }
  await publishImage(ports, hostId, {
    buildId,
    tags: [],
    layerSizes: [],
    attestations: await Promise.all(statements.map(attestationText)),
    manifest: image.manifest,
    config: image.config,
  })
}

type Fault = 'dies before' | 'dies after' | 'fails once'

/** Fails the nth call, before or after it took effect; a process that died does nothing more. */
function faultAt(nth: number, kind: Fault): { hook: Hook; wasReached(): boolean } {
  let calls = 0
  const hook: Hook = async (_name, call) => {
    calls++
    if (calls > nth && kind !== 'fails once') throw new Error('the process is dead')
    if (calls === nth && kind !== 'dies after') throw new Error('this call fails')
    const result = await call()
    if (calls >= nth && kind === 'dies after') throw new Error('the process dies')
    return result
  }
  return { hook, wasReached: () => calls >= nth }
}

async function settle(world: RegistryWorld): Promise<void> {
  for (const hours of [25, 25, 2, 25, 2]) {
    world.advance(hours * HOUR_MS)
    await collectGarbage(world.ports, false, undefined)
    await sweep(world.ports)
  }
}

const NAMED = `select object_key as key from blobs union select object_key from manifests where object_key is not null
  union select object_key from uploads union select object_key from doomed_objects order by 1`

async function expectWhole(world: RegistryWorld): Promise<void> {
  const named = (await world.rows<{ key: string }>(NAMED)).map(({ key }) => key)
  expect(await world.objects()).toEqual(named)
  expect(await world.rows('select * from uploads')).toEqual([])
  expect(await world.rows('select * from doomed_objects')).toEqual([])
  const dangling = `select * from manifest_edges where child not in (select digest from blobs union select digest from manifests)`
  expect(await world.rows(dangling)).toEqual([])
}

async function removeAll(ports: Ports): Promise<void> {
  for (const name of await listRepositories(ports.db, '', 100)) await removeRepository(ports, parseRepository(name))
}

describe.each(WAYS)('$name', ({ before, run, refuses }) => {
  test.each<Fault>(['dies before', 'dies after', 'fails once'])('%s at every call', { timeout: 60_000 }, async kind => {
    let reached = true
    for (let nth = 1; reached; nth++) {
      await using world = await openRegistryWorld(nth)
      await before?.(world.ports)
      const { hook, wasReached } = faultAt(nth, kind)
      const outcome = await run(world.hooked(hook)).catch((error: unknown) => error)
      reached = wasReached()
      if (!reached && !refuses) expect(outcome).not.toBeInstanceOf(Error)
      await settle(world)
      await expectWhole(world)
      await removeAll(world.ports)
      await settle(world)
      expect([nth, await world.objects(), await world.rows('select digest from blobs')]).toEqual([nth, [], []])
      expect(await world.rows('select digest from manifests')).toEqual([])
      expect(nth).toBeLessThan(200)
    }
  })
})
