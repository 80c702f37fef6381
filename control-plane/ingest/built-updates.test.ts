import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Digest } from '#shared/digest.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import type { Report } from '#shared/protocol/agent.ts'
import { imageText, pushImageText } from '#test/support/images.ts'
import { openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { createApp } from '../app.ts'
import { claimFor } from '../intent/build-claims.ts'
import { newToken } from '../intent/principal.ts'
import { createFirstToken } from '../intent/tokens.ts'
import { setImageOfBuild } from '../store/builds.ts'
import { insertHost } from '../store/hosts.ts'
import { ingestReport } from './report.ts'

const HOST = 'a'.repeat(16) as HostId
const FACTS = {
  ...{ hostname: 'one', architecture: 'amd64', os: 'linux', kernel: '6', cpus: 1, memoryBytes: 1e9 },
  ...{ diskBytes: 1e12, diskFreeBytes: 9e11, agentVersion: '0', snapshotter: 'erofs', runtime: 'crun', cgroup: 'v2' },
} as unknown as Report['facts']
const old = await imageText(['old'], 'old')
const fresh = await imageText(['fresh'], 'fresh')
const newest = await imageText(['newest'], 'newest')

const RUN = { image: 'app:old', command: ['run'] }

interface Container {
  id: string
  image: string
  imageDigest: string
  revision: number
  desired: string
  ports: string[]
}

let world: RegistryWorld
let send: <T>(method: string, path: string, body?: unknown) => Promise<T>

beforeEach(async () => {
  world = await openRegistryWorld()
  const token = newToken(world.ports.random)
  await createFirstToken(world.ports, token)
  await insertHost(world.ports.db, { id: HOST, name: 'one', createdAt: 1 })
  await report([])
  const images = { old, fresh, newest }
  for (const [name, image] of Object.entries(images)) await pushImageText(world.ports, 'app', name, image)
  const app = createApp({ portsFor: () => world.ports, onFailure: error => expect(error).toBeUndefined() })
  send = async <T>(method: string, path: string, body?: unknown) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const text = body === undefined ? null : JSON.stringify(body)
    return (await (await app.request(path, { method, headers, body: text })).json()) as T
  }
})
afterEach(() => world[Symbol.asyncDispose]())

function report(builds: Report['builds'], containers: Report['containers'] = []): Promise<void> {
  return ingestReport(world.ports, HOST, { generation: 0, facts: FACTS, containers, builds })
}

const find = (name: string) => send<Container>('GET', `/v1/containers/${name}`)
/** A build that the host has taken. */
async function buildOf(update: string[], tag = 'app:fresh') {
  const git = { url: 'https://forge.test/app.git' }
  const made = await send<{ id: BuildId }>('POST', '/v1/builds', { git, tags: [tag], update })
  await claimFor(world.ports, HOST, made.id)
  return made
}
const updates = async () =>
  (await world.rows<{ data: string }>("select data from events where type = 'container.update'")).map(
    ({ data }) => JSON.parse(data) as object,
  )
const generation = async () => (await world.rows<{ generation: number }>('select generation from hosts'))[0]?.generation

/** As a host ends a build: its image is published, then its success is told. */
async function succeed(id: BuildId, imageDigest: Digest = fresh.digest): Promise<void> {
  await setImageOfBuild(world.ports.db, id, imageDigest)
  await report([{ id, observed: { state: 'succeeded', startedAt: 1, finishedAt: 2, imageDigest } }])
}

describe('a build that names containers', () => {
  test('orders them its image with its success, once', async () => {
    await send('POST', '/v1/containers', { ...RUN, name: 'web' })
    await send('POST', '/v1/containers', { ...RUN, name: 'idle', start: false })
    const { id } = await buildOf(['web', 'idle'])
    const before = await generation()
    await succeed(id)
    const web = await find('web')
    expect(web).toMatchObject({ image: 'app:fresh', imageDigest: fresh.digest, revision: 1, desired: 'running' })
    expect(await find('idle')).toMatchObject({ imageDigest: fresh.digest, revision: 1, desired: 'created' })
    const rows = await world.rows<{ goal: string; generation: number }>(
      `select goal, generation from containers where id = '${web.id}'`,
    )
    expect(JSON.parse(rows[0]?.goal ?? '')).toEqual({ kind: 'running', run: 2, endPrevious: { timeoutMs: 10_000 } })
    expect(await generation()).toBe((before ?? 0) + 1)
    expect(rows[0]?.generation).toBe(await generation())
    expect(await updates()).toMatchObject([{ name: 'web', image: 'app:fresh', build: id }, { name: 'idle' }])
    expect(await send('GET', `/v1/builds/${id}`)).toMatchObject({
      ...{ state: 'succeeded', updates: [{ container: 'web' }, { container: 'idle' }] },
    })
    await succeed(id) // A report comes twice.
    expect(await find('web')).toMatchObject({ revision: 1 })
    expect(await updates()).toHaveLength(2)
  })

  test('tells which are gone, and succeeds', async () => {
    await send('POST', '/v1/containers', { ...RUN, name: 'web' })
    await send('POST', '/v1/containers', { ...RUN, name: 'leaving' })
    const { id } = await buildOf(['none', 'leaving', 'web'])
    await send('DELETE', '/v1/containers/leaving?force=true')
    await succeed(id)
    const gone = { error: { code: 'container.not-found' } }
    expect(await send('GET', `/v1/builds/${id}`)).toMatchObject({
      state: 'succeeded',
      updates: [{ container: 'none', ...gone }, { container: 'leaving', ...gone }, { container: 'web' }],
    })
    expect(await find('web')).toMatchObject({ imageDigest: fresh.digest })
    expect(await world.rows("select data from events where type = 'build.update-failed'")).toHaveLength(2)
  })

  test('whose image names no command is no update for a container without one of its own, which goes on', async () => {
    const entry = { ...RUN, command: undefined, entrypoint: ['run'] }
    await send('POST', '/v1/containers', { ...entry, name: 'own' })
    await send('POST', '/v1/containers', { ...RUN, name: 'web' })
    const [row] = await world.rows<{ spec: string }>("select spec from containers where name = 'web'")
    const { command: _, ...spec } = JSON.parse(row?.spec ?? '') // As of an image that names one.
    await world.rows(`update containers set spec = '${JSON.stringify(spec)}' where name = 'web'`)
    const { id } = await buildOf(['web', 'own'])
    await succeed(id)
    expect(await send('GET', `/v1/builds/${id}`)).toMatchObject({
      updates: [{ container: 'web', error: { code: 'container.command-missing' } }, { container: 'own' }],
    })
    expect(await find('web')).toMatchObject({ imageDigest: old.digest, revision: 0 })
    expect(await find('own')).toMatchObject({ imageDigest: fresh.digest, revision: 1 })
  })

  test.each([
    ['as they ended', 1],
    ['the later one first', -1],
  ])('and another one in the same report: a container gets what was built last, %s', async (_, order) => {
    await send('POST', '/v1/containers', { ...RUN, name: 'web' })
    const first = await buildOf(['web'])
    const second = await buildOf(['web', (await find('web')).id], 'app:newest')
    await setImageOfBuild(world.ports.db, first.id, fresh.digest)
    await setImageOfBuild(world.ports.db, second.id, newest.digest)
    const ended = { state: 'succeeded', startedAt: 1 } as const
    const one = { id: first.id, observed: { ...ended, finishedAt: 2, imageDigest: fresh.digest } }
    const two = { id: second.id, observed: { ...ended, finishedAt: 3, imageDigest: newest.digest } }
    await report(order > 0 ? [one, two] : [two, one])
    expect(await find('web')).toMatchObject({ image: 'app:newest', imageDigest: newest.digest })
    expect(await updates()).toMatchObject([{ image: 'app:fresh' }, { image: 'app:newest' }])
  })

  test('orders nothing when it failed or was canceled, and nothing to a container that has the image', async () => {
    await send('POST', '/v1/containers', { ...RUN, name: 'web' })
    const failed = await buildOf(['web'])
    const error = { code: 'build.step-failed', message: 'no' } as const
    await report([{ id: failed.id, observed: { state: 'failed', startedAt: 1, finishedAt: 2, error } }])
    const canceled = await buildOf(['web'])
    await send('POST', `/v1/builds/${canceled.id}/cancel`)
    await succeed(canceled.id)
    expect(await find('web')).toMatchObject({ imageDigest: old.digest, revision: 0 })
    await succeed((await buildOf(['web'])).id)
    await succeed((await buildOf(['web'])).id)
    expect(await find('web')).toMatchObject({ imageDigest: fresh.digest, revision: 1 })
    await succeed((await buildOf(['web'], 'app:newest')).id, newest.digest)
    expect(await find('web')).toMatchObject({ image: 'app:newest', imageDigest: newest.digest, revision: 2 })
  })
})

describe('POST /v1/containers/{container}/update', () => {
  test('replaces what is named; the same again changes nothing', async () => {
    await send('POST', '/v1/containers', { ...RUN, name: 'web', env: { A: '1' }, ports: ['8080:80'] })
    const before = await find('web')
    const updated = await send<Container>('POST', '/v1/containers/web/update', { image: 'app:fresh', timeout: 1.5 })
    expect(updated).toMatchObject({ ...before, image: 'app:fresh', imageDigest: fresh.digest, revision: 1 })
    const [row] = await world.rows<{ goal: string }>('select goal from containers')
    expect(JSON.parse(row?.goal ?? '')).toEqual({ kind: 'running', run: 2, endPrevious: { timeoutMs: 1500 } })
    const ordered = await generation()
    expect(await send('POST', '/v1/containers/web/update', { image: 'app:fresh' })).toEqual(updated)
    expect(await generation()).toBe(ordered)
    expect(await updates()).toEqual([{ name: 'web', image: 'app:fresh', revision: 1 }])
    expect(await send('POST', '/v1/containers/web/update', { env: { B: '2' } })).toMatchObject({
      ...{ image: 'app:fresh', env: ['B=2'], revision: 2, ports: before.ports },
    })
  })

  test.each<[string, string, object]>([
    ['container.not-found', 'none', { image: 'app:old' }],
    ['image.not-found', 'web', { image: 'app:none' }],
    ['container.removing', 'leaving', { image: 'app:old' }],
    ['request.invalid', 'web', { ports: ['80:80'] }],
  ])('%s', async (code, name, asked) => {
    await send('POST', '/v1/containers', { ...RUN, name: 'web' })
    await send('POST', '/v1/containers', { ...RUN, name: 'leaving' })
    await send('DELETE', '/v1/containers/leaving?force=true')
    expect(await send('POST', `/v1/containers/${name}/update`, asked)).toMatchObject({ code })
  })
})
