import { afterAll, beforeAll, expect, test } from 'vitest'
import { INDEX_TYPE, pushImage, type RegistryClient, registryClient } from '#test/conformance/registry-client.ts'
import { bootControlPlane, type TestControlPlane } from '#test/support/control-plane.ts'

/** Garbage collection, retention and usage over HTTP. Without a grace period, so that what is needless goes at once. */

let controlPlane: TestControlPlane
let client: RegistryClient

beforeAll(async () => {
  controlPlane = await bootControlPlane({ SLIPWAY_REGISTRY_GRACE: '0s' })
  client = registryClient(controlPlane.url, controlPlane.token)
})
afterAll(async () => {
  await controlPlane?.[Symbol.asyncDispose]()
})

async function api(method: string, path: string, json?: unknown) {
  const answer = await client.send(method, path, {
    ...(json === undefined ? {} : { body: JSON.stringify(json), headers: { 'content-type': 'application/json' } }),
  })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) }
}

test('GET /v1/repositories: a page at a time, and one by its encoded name with usage and tags', async () => {
  await pushImage(client, 'list/one', 'a', 'first')
  await pushImage(client, 'list/one', 'b', 'second')
  await pushImage(client, 'list/two', 'a', 'first')
  const page = await api('GET', '/v1/repositories?limit=1')
  expect(page).toMatchObject({ status: 200, body: { items: [{ name: 'list/one', tagCount: 2, manifestCount: 2 }] } })
  const next = await api('GET', `/v1/repositories?limit=1&cursor=${page.body.nextCursor}`)
  expect(next.body.items).toMatchObject([{ name: 'list/two', tagCount: 1 }])
  const one = await api('GET', '/v1/repositories/list%2Fone?limit=1')
  const { total, shared, unique } = one.body.usage
  expect([total, shared + unique, one.body.size]).toEqual([total, total, total])
  expect(shared).toBe(next.body.items[0].size)
  expect(one.body.tags).toMatchObject([{ tag: 'a', size: shared }])
  const rest = await api('GET', `/v1/repositories/list%2Fone?limit=1&cursor=${one.body.nextCursor}`)
  expect([rest.body.tags[0].tag, rest.body.nextCursor]).toEqual(['b', undefined])
  expect((await api('GET', '/v1/repositories/none')).body.code).toBe('repository.not-found')
  const image = await api('GET', '/v1/images/list%2Fone:b')
  expect(image.body).toMatchObject({ sharedSize: 0, uniqueSize: image.body.size })
})

test('DELETE of a repository and POST /v1/registry/gc: a dry run says what a run removes', async () => {
  const { digest, manifest } = await pushImage(client, 'gone/app', 'latest')
  await client.pushManifest('gone/app', 'index', indexOf(digest, JSON.stringify(manifest).length), INDEX_TYPE)
  await api('POST', '/v1/registry/gc', {})
  expect((await api('DELETE', '/v1/repositories/gone%2Fapp')).status).toBe(204)
  expect((await api('DELETE', '/v1/repositories/gone%2Fapp')).body.code).toBe('repository.not-found')
  const dry = await api('POST', '/v1/registry/gc', { dryRun: true })
  expect(dry.body).toMatchObject({ dryRun: true, isComplete: true, manifests: { count: 2 }, blobs: { count: 2 } })
  expect(dry.body.manifests.first).toContain(digest)
  const wet = await api('POST', '/v1/registry/gc', {})
  for (const kind of ['manifests', 'blobs']) expect(wet.body[kind].bytes).toBe(dry.body[kind].bytes)
  expect(wet.body).toMatchObject({ dryRun: false, manifests: { count: 2 }, blobs: { count: 2 } })
  expect((await api('POST', '/v1/registry/gc', {})).body).toMatchObject({
    manifests: { count: 0 },
    blobs: { count: 0 },
  })
  const config = await client.send('HEAD', `/v2/gone/app/blobs/${manifest.config.digest}`)
  expect(config.status).toBe(404)
})

test('PUT and GET /v1/registry/retention: rules, tried first, then applied by a run', async () => {
  for (const tag of ['v1', 'a', 'b', 'c']) await pushImage(client, 'kept/app', tag)
  const rules = [{ repositories: 'kept/*', keepLast: 1, keepTags: ['v*'], untaggedAfter: '0s' }]
  const tried = await api('POST', '/v1/registry/gc', { dryRun: true, rules })
  expect(tried.body.tags).toEqual({ count: 2, first: ['kept/app:a', 'kept/app:b'] })
  // Neither becomes a run: rules that are not stored, and a dry run that is mistyped.
  for (const body of [{ rules }, { dry_run: true }]) {
    expect((await api('POST', '/v1/registry/gc', body)).body.code).toBe('request.invalid')
  }
  expect((await api('PUT', '/v1/registry/retention', { rules: [{ repositories: '*', keepTags: ['a'] }] })).status).toBe(
    400,
  )
  expect(await api('PUT', '/v1/registry/retention', { rules })).toEqual({ status: 200, body: { rules } })
  expect((await api('GET', '/v1/registry/retention')).body).toEqual({ rules })
  expect((await api('POST', '/v1/registry/gc', {})).body.tags.count).toBe(2)
  const tags = await client.send('GET', '/v2/kept/app/tags/list')
  expect(await tags.json()).toEqual({ name: 'kept/app', tags: ['c', 'v1'] })
  await api('POST', '/v1/registry/gc', {})
  expect((await api('GET', '/v1/repositories/kept%2Fapp')).body).toMatchObject({ manifestCount: 2 })
  expect((await api('PUT', '/v1/registry/retention', { rules: [] })).body).toEqual({ rules: [] })
})

test('pushes are whole while garbage is collected all the time', async () => {
  await using other = await bootControlPlane({ SLIPWAY_REGISTRY_GRACE: '5s' })
  const busy = registryClient(other.url, other.token)
  const collecting = new AbortController()
  const collector = (async () => {
    while (!collecting.signal.aborted) await collect(busy)
  })()
  const pushes = Array.from({ length: 40 }, (_, at) => pushImage(busy, `busy/${at % 4}`, `t${at}`, `busy ${at % 6}`))
  const pushed = await Promise.all(pushes).finally(() => collecting.abort())
  await collector
  for (const [at, { manifest, digest }] of pushed.entries()) {
    const path = `/v2/busy/${at % 4}`
    expect((await busy.send('GET', `${path}/manifests/t${at}`)).headers.get('docker-content-digest')).toBe(digest)
    for (const blob of [manifest.config, ...manifest.layers]) {
      const got = await busy.send('GET', `${path}/blobs/${blob.digest}`)
      expect([got.status, (await got.arrayBuffer()).byteLength]).toEqual([200, blob.size])
    }
  }
})

async function collect({ send }: RegistryClient): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const answer = await send('POST', '/v1/registry/gc', { body: '{}', headers })
  if (answer.status !== 200) throw new Error(`gc: ${answer.status} ${await answer.text()}`)
}

function indexOf(digest: string, size: number) {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  return { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [{ mediaType, digest, size }] }
}
