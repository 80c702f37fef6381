import { describe, expect, test } from 'vitest'
import { describeDistributionPush } from './distribution-push.contract.ts'
import { describeDistributionSizes } from './distribution-sizes.contract.ts'
import {
  descriptor,
  EMPTY_TYPE,
  IMAGE_TYPE,
  INDEX_TYPE,
  pushImage,
  registryClient,
  sha256,
  someBytes,
  suite,
} from './registry-client.ts'

/**
 * OCI distribution-spec 1.1, requirement by requirement: each test is named by the endpoint (`end-N`) or section it is
 * of. `get` gives a registry and an operator's token; repositories are the suite's own.
 */
export function describeDistribution(get: () => { url: string; token: string }): void {
  const { repository, open, codeOf, follow } = suite(get, 'conf')

  describe('distribution-spec: the API', () => {
    test('end-1: GET /v2/ answers 200 to who has a token', async () => {
      const answer = await open().send('GET', '/v2/')
      expect([answer.status, answer.headers.get('docker-distribution-api-version')]).toEqual([200, 'registry/2.0'])
    })

    test('end-1: without a token it answers 401 and says where to get one', async () => {
      const answer = await open().send('GET', '/v2/', { authorization: null })
      expect([answer.status, await codeOf(answer)]).toEqual([401, 'UNAUTHORIZED'])
      const challenge = answer.headers.get('www-authenticate') ?? ''
      expect(challenge).toMatch(/^Bearer realm="http[^"]+\/v2\/token",service="slipway"$/)
    })

    test.each([
      ['GET', 'Blobs/manifests/latest'],
      ['GET', 'a..b/manifests/latest'],
      ['POST', '-a/blobs/uploads/'],
    ])('error code NAME_INVALID: %s %s', async (method, path) => {
      const answer = await open().send(method, `/v2/${path}`)
      expect([answer.status, await codeOf(answer)]).toEqual([400, 'NAME_INVALID'])
    })

    test('end-1 without its slash, and a path with a broken escape', async () => {
      expect((await open().send('GET', '/v2')).status).toBe(200)
      expect((await open().send('GET', `/v2/${repository('x')}/manifests/%zz`)).status).toBe(404)
    })

    test('names may hold words that endpoints have', async () => {
      const client = open()
      const name = repository('blobs/tags/manifests')
      await pushImage(client, name, 'list')
      expect((await client.send('GET', `/v2/${name}/manifests/list`)).status).toBe(200)
      expect((await client.send('GET', `/v2/${name}/tags/list`)).status).toBe(200)
    })

    test('error code UNSUPPORTED: a method that an endpoint has not', async () => {
      const answer = await open().send('POST', `/v2/${repository('x')}/manifests/latest`)
      expect([answer.status, await codeOf(answer)]).toEqual([405, 'UNSUPPORTED'])
    })
  })

  describe('distribution-spec: pull', () => {
    test('end-2: GET and HEAD of a blob give its bytes, digest and length', async () => {
      const client = open()
      const bytes = someBytes(100_000)
      const digest = await client.pushBlob(repository('pull'), bytes)
      const head = await client.send('HEAD', `/v2/${repository('pull')}/blobs/${digest}`)
      expect([head.status, head.headers.get('content-length'), head.headers.get('docker-content-digest')]).toEqual([
        200,
        '100000',
        digest,
      ])
      const got = await follow(await client.send('GET', `/v2/${repository('pull')}/blobs/${digest}`))
      expect(got.status).toBe(200)
      expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(digest)
    })

    test('end-2: a range of a blob (RFC 9110 §14)', async () => {
      const client = open()
      const digest = await client.pushBlob(repository('pull'), '0123456789')
      const path = `/v2/${repository('pull')}/blobs/${digest}`
      const range = { headers: { range: 'bytes=2-4' } }
      const first = await client.send('GET', path, range)
      const answer = first.status === 307 ? await fetch(first.headers.get('location') ?? '', range) : first
      expect([answer.status, await answer.text(), answer.headers.get('content-range')]).toEqual([
        206,
        '234',
        'bytes 2-4/10',
      ])
    })

    test('end-2: BLOB_UNKNOWN for what is not there, in this repository', async () => {
      const client = open()
      const digest = await client.pushBlob(repository('pull'), 'only here')
      for (const [name, blob] of [
        [repository('pull'), sha256('never pushed')],
        [repository('elsewhere'), digest],
      ]) {
        const answer = await client.send('GET', `/v2/${name}/blobs/${blob}`)
        expect([answer.status, await codeOf(answer)]).toEqual([404, 'BLOB_UNKNOWN'])
        expect((await client.send('HEAD', `/v2/${name}/blobs/${blob}`)).status).toBe(404)
      }
    })

    test('error code DIGEST_INVALID: what is no digest', async () => {
      const answer = await open().send('GET', `/v2/${repository('pull')}/blobs/sha256:nonsense`)
      expect([answer.status, await codeOf(answer)]).toEqual([400, 'DIGEST_INVALID'])
    })

    test('end-3: GET and HEAD of a manifest by tag and by digest give its exact bytes and media type', async () => {
      const client = open()
      const { manifest, digest } = await pushImage(client, repository('pull'), 'v1')
      for (const reference of ['v1', digest]) {
        const got = await client.send('GET', `/v2/${repository('pull')}/manifests/${reference}`)
        expect([got.status, got.headers.get('content-type'), got.headers.get('docker-content-digest')]).toEqual([
          200,
          IMAGE_TYPE,
          digest,
        ])
        expect(await got.text()).toBe(JSON.stringify(manifest))
        const head = await client.send('HEAD', `/v2/${repository('pull')}/manifests/${reference}`)
        expect([head.status, head.headers.get('content-length')]).toEqual([
          200,
          String(JSON.stringify(manifest).length),
        ])
      }
    })

    test('end-3: MANIFEST_UNKNOWN for a tag, NAME_UNKNOWN for a repository that is not there', async () => {
      const client = open()
      await pushImage(client, repository('pull'), 'v1')
      const tag = await client.send('GET', `/v2/${repository('pull')}/manifests/none`)
      expect([tag.status, await codeOf(tag)]).toEqual([404, 'MANIFEST_UNKNOWN'])
      const name = await client.send('GET', `/v2/${repository('no/such')}/manifests/v1`)
      expect([name.status, await codeOf(name)]).toEqual([404, 'NAME_UNKNOWN'])
    })
  })

  describeDistributionPush(get)
  describeDistributionSizes(get)

  describe('distribution-spec: content discovery', () => {
    test('end-8: tags in order; n, last and Link lead through all of them', async () => {
      const client = open()
      const name = repository('tags')
      const { manifest } = await pushImage(client, name, 'b')
      for (const tag of ['a', 'C', 'd', 'e-1']) await client.pushManifest(name, tag, manifest)
      const list = async (path: string) => {
        const answer = await client.send('GET', path)
        const { tags } = (await answer.json()) as { tags: string[] }
        return { tags, link: /<([^>]+)>; rel="next"/.exec(answer.headers.get('link') ?? '')?.[1] }
      }
      expect(await list(`/v2/${name}/tags/list`)).toEqual({ tags: ['C', 'a', 'b', 'd', 'e-1'], link: undefined })
      const seen: string[] = []
      let path: string | undefined = `/v2/${name}/tags/list?n=2`
      while (path) {
        const page: Awaited<ReturnType<typeof list>> = await list(path)
        expect(page.tags.length).toBeLessThanOrEqual(2)
        seen.push(...page.tags)
        path = page.link
      }
      expect(seen).toEqual(['C', 'a', 'b', 'd', 'e-1'])
      expect((await list(`/v2/${name}/tags/list?last=b`)).tags).toEqual(['d', 'e-1'])
      expect((await list(`/v2/${name}/tags/list?n=0`)).tags).toEqual([])
      const unknown = await client.send('GET', `/v2/${repository('no/tags')}/tags/list`)
      expect([unknown.status, await codeOf(unknown)]).toEqual([404, 'NAME_UNKNOWN'])
    })

    test('end-12: referrers, filtered by artifactType; OCI-Subject; the subject may come later', async () => {
      const client = open()
      const name = repository('referrers')
      await client.pushBlob(name, '{}')
      const subject = { ...descriptor(IMAGE_TYPE, 'not pushed yet') }
      const artifact = (artifactType: string, note: string) => ({
        ...{ schemaVersion: 2, mediaType: IMAGE_TYPE, artifactType, config: descriptor(EMPTY_TYPE, '{}') },
        ...{ layers: [descriptor(EMPTY_TYPE, '{}')], subject, annotations: { note } },
      })
      for (const type of ['application/example.sbom', 'application/example.signature']) {
        const made = artifact(type, type)
        const put = await client.pushManifest(name, sha256(JSON.stringify(made)), made)
        expect([put.status, put.headers.get('oci-subject')]).toEqual([201, subject.digest])
      }
      const all = await client.send('GET', `/v2/${name}/referrers/${subject.digest}`)
      expect([all.status, all.headers.get('content-type')]).toEqual([200, INDEX_TYPE])
      const { manifests } = (await all.json()) as { manifests: Record<string, unknown>[] }
      expect(manifests.map(({ artifactType }) => artifactType).sort()).toEqual([
        'application/example.sbom',
        'application/example.signature',
      ])
      expect(manifests[0]).toMatchObject({ mediaType: IMAGE_TYPE, annotations: { note: expect.any(String) } })
      const some = await client.send(
        'GET',
        `/v2/${name}/referrers/${subject.digest}?artifactType=application%2Fexample.sbom`,
      )
      expect(some.headers.get('oci-filters-applied')).toBe('artifactType')
      expect(((await some.json()) as { manifests: unknown[] }).manifests.length).toBe(1)
      const none = await client.send('GET', `/v2/${name}/referrers/${sha256('nobody refers to this')}`)
      expect([none.status, ((await none.json()) as { manifests: unknown[] }).manifests]).toEqual([200, []])
      expect((await client.send('GET', `/v2/${name}/referrers/nonsense`)).status).toBe(400)
    })

    test('end-12: without an artifactType, the configuration stands for it; an index refers too', async () => {
      const client = open()
      const name = repository('referrers2')
      await client.pushBlob(name, '{}')
      const subject = descriptor(IMAGE_TYPE, 'subject')
      const layers = [descriptor(EMPTY_TYPE, '{}')]
      const image = {
        schemaVersion: 2,
        mediaType: IMAGE_TYPE,
        config: descriptor('application/x.config', '{}'),
        layers,
        subject,
      }
      const index = {
        schemaVersion: 2,
        mediaType: INDEX_TYPE,
        artifactType: 'application/x.index',
        manifests: [],
        subject,
      }
      await client.pushManifest(name, sha256(JSON.stringify(image)), image)
      await client.pushManifest(name, sha256(JSON.stringify(index)), index, INDEX_TYPE)
      const answer = await client.send('GET', `/v2/${name}/referrers/${subject.digest}`)
      const { manifests } = (await answer.json()) as { manifests: { artifactType: string }[] }
      expect(manifests.map(({ artifactType }) => artifactType).sort()).toEqual([
        'application/x.config',
        'application/x.index',
      ])
    })

    test('the fallback tag of a digest is a tag like any other', async () => {
      const client = open()
      const { digest } = await pushImage(client, repository('fallback'), 'v1')
      const index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] }
      const tag = digest.replace(':', '-')
      expect((await client.pushManifest(repository('fallback'), tag, index, INDEX_TYPE)).status).toBe(201)
      expect((await client.send('GET', `/v2/${repository('fallback')}/manifests/${tag}`)).status).toBe(200)
    })

    test('_catalog lists repositories in pages', async () => {
      const client = open()
      for (const name of ['cat/a', 'cat/b', 'cat/c']) await pushImage(client, repository(name), 'v1')
      const answer = await client.send('GET', `/v2/_catalog?n=2&last=${encodeURIComponent(repository('cat/'))}`)
      expect(await answer.json()).toEqual({ repositories: [repository('cat/a'), repository('cat/b')] })
      expect(answer.headers.get('link')).toContain('rel="next"')
    })
  })

  describe('distribution-spec: content management', () => {
    test('end-9: a tag, then a manifest are deleted', async () => {
      const client = open()
      const name = repository('delete')
      const { digest, manifest } = await pushImage(client, name, 'one')
      await client.pushManifest(name, 'two', manifest)
      expect((await client.send('DELETE', `/v2/${name}/manifests/one`)).status).toBe(202)
      expect((await client.send('GET', `/v2/${name}/manifests/one`)).status).toBe(404)
      expect((await client.send('GET', `/v2/${name}/manifests/two`)).status).toBe(200)
      expect((await client.send('DELETE', `/v2/${name}/manifests/${digest}`)).status).toBe(202)
      for (const reference of ['two', digest]) {
        expect((await client.send('GET', `/v2/${name}/manifests/${reference}`)).status).toBe(404)
      }
      expect((await client.send('DELETE', `/v2/${name}/manifests/${digest}`)).status).toBe(404)
    })

    test('end-9: an image of an index stays until the index is gone, also when its last tag goes', async () => {
      const client = open()
      const name = repository('del-child')
      const { digest, manifest } = await pushImage(client, name, 'amd64')
      const index = {
        schemaVersion: 2,
        mediaType: INDEX_TYPE,
        manifests: [descriptor(IMAGE_TYPE, JSON.stringify(manifest))],
      }
      expect((await client.pushManifest(name, 'all', index, INDEX_TYPE)).status).toBe(201)
      const kept = await client.send('DELETE', `/v2/${name}/manifests/${digest}`)
      expect([kept.status, await codeOf(kept)]).toEqual([405, 'UNSUPPORTED'])
      expect((await client.send('GET', `/v2/${name}/manifests/amd64`)).status).toBe(200)
      const tag = await client.send('DELETE', `/v1/images/${encodeURIComponent(`${name}:amd64`)}`)
      expect(tag.status).toBe(204)
      expect((await client.send('GET', `/v2/${name}/manifests/amd64`)).status).toBe(404)
      expect((await client.send('GET', `/v2/${name}/manifests/${digest}`)).status).toBe(200)
      await client.send('DELETE', `/v2/${name}/manifests/${sha256(JSON.stringify(index))}`)
      expect((await client.send('DELETE', `/v2/${name}/manifests/${digest}`)).status).toBe(202)
    })

    test('end-10: a blob is deleted from its repository, and from no other', async () => {
      const client = open()
      const digest = await client.pushBlob(repository('del-a'), 'shared by two')
      await client.pushBlob(repository('del-b'), 'shared by two')
      expect((await client.send('DELETE', `/v2/${repository('del-a')}/blobs/${digest}`)).status).toBe(202)
      expect((await client.send('GET', `/v2/${repository('del-a')}/blobs/${digest}`)).status).toBe(404)
      expect((await client.send('HEAD', `/v2/${repository('del-b')}/blobs/${digest}`)).status).toBe(200)
      expect((await client.send('DELETE', `/v2/${repository('del-a')}/blobs/${digest}`)).status).toBe(404)
    })

    test('end-10: a blob that a manifest of its repository names stays until that is gone', async () => {
      const client = open()
      const name = repository('del-named')
      const { digest, manifest } = await pushImage(client, name, 'v1')
      for (const blob of [manifest.config.digest, ...manifest.layers.map(layer => layer.digest)]) {
        const kept = await client.send('DELETE', `/v2/${name}/blobs/${blob}`)
        expect([kept.status, await codeOf(kept)]).toEqual([405, 'UNSUPPORTED'])
        expect((await client.send('HEAD', `/v2/${name}/blobs/${blob}`)).status).toBe(200)
      }
      await client.send('DELETE', `/v2/${name}/manifests/${digest}`)
      expect((await client.send('DELETE', `/v2/${name}/blobs/${manifest.config.digest}`)).status).toBe(202)
    })
  })

  describe('tokens as docker login has them', () => {
    const scoped = async (scopes: string[]) => {
      const answer = await fetch(new URL('/v1/tokens', get().url), {
        method: 'POST',
        headers: { authorization: `Bearer ${get().token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'conformance', scopes }),
      })
      expect(answer.status).toBe(201)
      return ((await answer.json()) as { token: string }).token
    }
    const basic = (password: string) => `Basic ${btoa(`anyone:${password}`)}`

    test('a password is exchanged for a bearer token', async () => {
      const client = open()
      const answer = await client.send('GET', '/v2/token?service=slipway&scope=repository:a:pull', {
        authorization: basic(get().token),
      })
      const { token } = (await answer.json()) as { token: string }
      expect(answer.status).toBe(200)
      expect((await client.send('GET', '/v2/', { authorization: `Bearer ${token}` })).status).toBe(200)
      expect((await client.send('GET', '/v2/token', { authorization: basic('slw_wrong') })).status).toBe(401)
    })

    test("OAuth2's POST with a password", async () => {
      const body = new URLSearchParams({
        grant_type: 'password',
        username: 'x',
        password: get().token,
        service: 'slipway',
      })
      const answer = await open().send('POST', '/v2/token', {
        body: body.toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        authorization: null,
      })
      expect(await answer.json()).toMatchObject({ access_token: get().token })
    })

    test('a form without bounds is not read', async () => {
      const answer = await open().send('POST', '/v2/token', { body: 'x'.repeat(100_000), authorization: null })
      expect(answer.status).toBe(413)
    })

    test('scopes bound what a token may do, where', async () => {
      const name = repository('team/app')
      await pushImage(open(), name, 'v1')
      const token = await scoped([`repository:${repository('team/*')}:pull`])
      const client = registryClient(get().url, token)
      expect((await client.send('GET', `/v2/${name}/manifests/v1`)).status).toBe(200)
      const push = await client.send('POST', `/v2/${name}/blobs/uploads/`)
      expect(push.status).toBe(403)
      // The message is all that docker shows: it says which scope is missing.
      expect(await push.json()).toMatchObject({
        errors: [{ code: 'DENIED', message: expect.stringContaining(`repository:${name}:push`) }],
      })
      expect((await client.send('DELETE', `/v2/${name}/manifests/v1`)).status).toBe(403)
      expect((await client.send('GET', `/v2/${repository('pull')}/tags/list`)).status).toBe(403)
      const catalog = await client.send('GET', '/v2/_catalog')
      expect(await catalog.json()).toEqual({ repositories: [name] })
      expect((await client.send('GET', '/v1/containers')).status).toBe(403)
    })

    test('a mount needs a pull scope where the blob comes from', async () => {
      const digest = await open().pushBlob(repository('private'), 'secret bytes')
      const token = await scoped([`repository:${repository('own')}:pull,push`])
      const query = `mount=${digest}&from=${encodeURIComponent(repository('private'))}`
      const answer = await registryClient(get().url, token).send(
        'POST',
        `/v2/${repository('own')}/blobs/uploads/?${query}`,
      )
      expect(answer.status).toBe(202)
    })
  })
}
