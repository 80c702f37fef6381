import { execFileSync } from 'node:child_process'
import { createReadStream, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { digestHex, digestOf } from '#shared/digest.ts'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { type BuildId, type ContextId, newId } from '#shared/domain/ids.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { openBuilder } from './builder.ts'

let host: TestHost
let builds: string
/** What the API was sent: the bytes of each layer. */
let sent: Buffer[]

beforeEach(async () => {
  host = await openTestHost('tbuilder', 13)
  builds = join(host.dataFolder, 'builds')
  sent = []
})
afterEach(() => host?.[Symbol.asyncDispose]())

const random = (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes)

/** An API that lacks every layer, and has one upload, a tar. */
function apiWith(tar: string, upload: ControlPlane['upload']): ControlPlane {
  const api: Partial<ControlPlane> = {
    upload,
    missingBlobs: async blobs =>
      blobs.map(({ digest }) => ({ digest, upload: { url: 'http://127.0.0.1:9/', headers: {} } })),
    downloadContext: async () => createReadStream(tar),
    publishImage: ({ manifest }) => digestOf(manifest),
    appendBuildLog: async () => {},
  }
  return api as ControlPlane
}

async function importTar(upload: ControlPlane['upload']) {
  const tar = join(host.dataFolder, 'some.tar')
  execFileSync('tar', ['-C', '/etc', '-cf', tar, 'hostname'])
  const builder = await openBuilder({
    ...{ ports: host.ports, api: apiWith(tar, upload), log: pino({ level: 'silent' }), folder: builds, random },
    ...{ entitlements: new Set<string>(), identity: { id: 'http://127.0.0.1:9', version: '0' }, stepsAtOnce: 1 },
    ...{ signal: new AbortController().signal, network: () => undefined },
  })
  const spec: BuildSpecOf<'tar'> = {
    ...{ kind: 'tar', tags: ['a:1'], contextId: newId<ContextId>(random), changes: [], compression: 'gzip' },
  }
  const build = { id: newId<BuildId>(random), generation: 1, goal: 'built', limits: {}, spec } as const
  const ended = await builder.build({ build, logFrom: 0, stepFrom: 0 }, new AbortController().signal)
  return { ended, kept: await builder.cache.list() }
}

const left = () => [...readdirSync(join(builds, 'cache/blobs')), ...readdirSync(join(builds, 'work'))]

test('an image that no step made leaves its layer in the store alone, and among the layers that the host runs', async () => {
  const { ended, kept } = await importTar(async (_, path) => void sent.push(readFileSync(path)))
  expect(ended).toMatchObject({ state: 'succeeded' })
  const [layer = Buffer.alloc(0)] = sent
  expect(await host.ports.snapshots.hasLayer(await digestOf(gunzipSync(layer)))).toBe(true)
  expect([sent.length, kept, left()]).toEqual([1, [], []])
})

test('an import that cannot be published leaves nothing', async () => {
  const { ended } = await importTar(() => Promise.reject(new Error('the line broke')))
  expect(ended).toMatchObject({ state: 'failed' })
  expect(left()).toEqual([])
})

test('a layer that a dead agent left and no step names goes when the next one starts', async () => {
  const hex = digestHex(await digestOf('left'))
  mkdirSync(join(builds, 'cache/blobs'), { recursive: true })
  writeFileSync(join(builds, 'cache/blobs', hex), 'of an agent that is no more')
  await importTar(async () => {})
  expect(left()).toEqual([])
})
