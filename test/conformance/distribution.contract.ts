import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import {
  CONFIG_TYPE,
  descriptor,
  EMPTY_TYPE,
  IMAGE_TYPE,
  INDEX_TYPE,
  LAYER_TYPE,
  pushImage,
  type RegistryClient,
  registryClient,
  sha256,
  someBytes,
} from './registry-client.ts'

/**
 * OCI distribution-spec 1.1, requirement by requirement: each test is named by the endpoint (`end-N`) or section it is
 * of. `get` gives a registry and an operator's token; repositories are the suite's own.
 */
export function describeDistribution(get: () => { url: string; token: string }): void {
  const run = `conf/${Date.now().toString(36)}`
  const repository = (name: string) => `${run}/${name}`
  const open = (): RegistryClient => registryClient(get().url, get().token)
  const codeOf = async (response: Response) =>
    ((await response.json()) as { errors: { code: string; message: string }[] }).errors[0]?.code
  const follow = async (response: Response) =>
    response.status === 307 ? fetch(response.headers.get('location') ?? '') : response
  const withDigest = (location: string, digest: string) => {
    const url = new URL(location)
    url.searchParams.set('digest', digest)
    return url.href
  }

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

  describe('distribution-spec: push of blobs', () => {
    test('end-4a, end-6: POST then PUT; the blob is where Location says', async () => {
      const client = open()
      const location = await client.begin(repository('push'))
      const done = await client.send('PUT', withDigest(location, sha256('whole')), { body: 'whole' })
      expect(done.status).toBe(201)
      const blob = done.headers.get('location') ?? ''
      expect(blob).toContain(`/v2/${repository('push')}/blobs/${sha256('whole')}`)
      expect((await client.send('HEAD', blob)).status).toBe(200)
    })

    test('end-4b: a single POST with the digest', async () => {
      const client = open()
      const bytes = someBytes(1000)
      const path = `/v2/${repository('push')}/blobs/uploads/?digest=${sha256(bytes)}`
      const done = await client.send('POST', path, {
        body: bytes,
        headers: { 'content-type': 'application/octet-stream' },
      })
      expect(done.status).toBe(201)
      expect((await client.send('HEAD', done.headers.get('location') ?? '')).status).toBe(200)
    })

    test('end-4b: an empty blob', async () => {
      const client = open()
      const location = await client.begin(repository('push'))
      expect((await client.send('PUT', withDigest(location, sha256('')))).status).toBe(201)
      expect(
        await (await follow(await client.send('GET', `/v2/${repository('push')}/blobs/${sha256('')}`))).text(),
      ).toBe('')
    })

    test('end-5: chunks in order, the last in the PUT; GET says how far it is', async () => {
      const client = open()
      const pieces = [someBytes(3_000_000), someBytes(6_500_000), someBytes(1), someBytes(500)]
      const whole = Buffer.concat(pieces)
      let location = await client.begin(repository('chunks'))
      let at = 0
      for (const [index, piece] of pieces.entries()) {
        const headers = {
          'content-range': `${at}-${at + piece.length - 1}`,
          'content-type': 'application/octet-stream',
        }
        at += piece.length
        if (index === pieces.length - 1) {
          const done = await client.send('PUT', withDigest(location, sha256(whole)), { body: piece, headers })
          expect(done.status).toBe(201)
          break
        }
        const taken = await client.send('PATCH', location, { body: piece, headers })
        expect([taken.status, taken.headers.get('range')]).toEqual([202, `0-${at - 1}`])
        location = new URL(taken.headers.get('location') ?? '', client.url).href
        const state = await client.send('GET', location)
        expect([state.status, state.headers.get('range')]).toEqual([204, `0-${at - 1}`])
      }
      const got = await follow(await client.send('GET', `/v2/${repository('chunks')}/blobs/${sha256(whole)}`))
      expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(sha256(whole))
    })

    test('end-5: one stream of unknown length, then a PUT without a body, as clients push', async () => {
      const client = open()
      const bytes = someBytes(9_000_000)
      const location = await client.begin(repository('stream'))
      const taken = await client.send('PATCH', location, { body: new Blob([bytes]).stream() })
      expect(taken.status).toBe(202)
      const next = new URL(taken.headers.get('location') ?? '', client.url).href
      expect((await client.send('PUT', withDigest(next, sha256(bytes)))).status).toBe(201)
      expect((await client.send('HEAD', `/v2/${repository('stream')}/blobs/${sha256(bytes)}`)).status).toBe(200)
    })

    test('end-5: 416 for a chunk that leaves a gap, or comes twice; nothing is lost', async () => {
      const client = open()
      const location = await client.begin(repository('gap'))
      const send = (range: string, body: string) =>
        client.send('PATCH', location, { body, headers: { 'content-range': range } })
      expect((await send('5-9', 'fghij')).status).toBe(416)
      expect((await send('0-4', 'abcde')).status).toBe(202)
      const twice = await send('0-4', 'abcde')
      expect([twice.status, twice.headers.get('range'), await codeOf(twice)]).toEqual([
        416,
        '0-4',
        'BLOB_UPLOAD_INVALID',
      ])
      expect((await send('6-9', 'ghij')).status).toBe(416)
      expect((await send('5-9', 'fghij')).status).toBe(202)
      expect((await client.send('PUT', withDigest(location, sha256('abcdefghij')))).status).toBe(201)
    })

    test('end-6: DIGEST_INVALID for other bytes, and nothing is visible', async () => {
      const client = open()
      const wrong = sha256('something else')
      const attempts = [
        async () => client.send('PUT', withDigest(await client.begin(repository('wrong')), wrong), { body: 'bytes' }),
        async () => client.send('POST', `/v2/${repository('wrong')}/blobs/uploads/?digest=${wrong}`, { body: 'bytes' }),
        async () => {
          const location = await client.begin(repository('wrong'))
          await client.send('PATCH', location, { body: 'by' })
          await client.send('PATCH', location, { body: 'tes' })
          return client.send('PUT', withDigest(location, wrong))
        },
      ]
      for (const attempt of attempts) {
        const answer = await attempt()
        expect([answer.status, await codeOf(answer)]).toEqual([400, 'DIGEST_INVALID'])
        expect((await client.send('HEAD', `/v2/${repository('wrong')}/blobs/${wrong}`)).status).toBe(404)
      }
    })

    test('end-6: a PUT without a digest is refused', async () => {
      const client = open()
      const answer = await client.send('PUT', await client.begin(repository('wrong')), { body: 'bytes' })
      expect([answer.status, await codeOf(answer)]).toEqual([400, 'DIGEST_INVALID'])
    })

    test('end-11: cross-repository mount; without the blob there, an upload begins', async () => {
      const client = open()
      const digest = await client.pushBlob(repository('source'), 'to be mounted')
      const mount = (blob: string, from: string) =>
        client.send('POST', `/v2/${repository('target')}/blobs/uploads/?mount=${blob}&from=${encodeURIComponent(from)}`)
      const mounted = await mount(digest, repository('source'))
      expect(mounted.status).toBe(201)
      expect((await client.send('HEAD', mounted.headers.get('location') ?? '')).status).toBe(200)
      const missing = await mount(sha256('nowhere'), repository('source'))
      expect(missing.status).toBe(202)
      expect(missing.headers.get('location')).toContain('/blobs/uploads/')
    })

    test('end-13, DELETE: an upload that was cancelled is BLOB_UPLOAD_UNKNOWN', async () => {
      const client = open()
      const location = await client.begin(repository('cancel'))
      await client.send('PATCH', location, { body: 'some' })
      expect((await client.send('DELETE', location)).status).toBe(204)
      const answer = await client.send('GET', location)
      expect([answer.status, await codeOf(answer)]).toEqual([404, 'BLOB_UPLOAD_UNKNOWN'])
    })

    test('an upload that broke off goes on where it was', async () => {
      const client = open()
      const location = await client.begin(repository('broken'))
      await cutOff(new URL(location), get().token, 'x'.repeat(100_000))
      let size = 0
      for (let tries = 0; tries < 100 && size === 0; tries++) {
        await new Promise(resolve => setTimeout(resolve, 100))
        const range = (await client.send('GET', location)).headers.get('range') ?? '0-0'
        size = range === '0-0' ? 0 : Number(range.split('-')[1]) + 1
      }
      expect(size).toBe(100_000)
      const rest = await client.send('PATCH', location, { body: 'yz', headers: { 'content-range': '100000-100001' } })
      expect(rest.status).toBe(202)
      const digest = sha256(`${'x'.repeat(100_000)}yz`)
      expect((await client.send('PUT', withDigest(location, digest))).status).toBe(201)
    }, 30_000)

    test('two clients that finish one upload: one of them does, and the blob is right', async () => {
      const client = open()
      const bytes = someBytes(200_000)
      const location = await client.begin(repository('race'))
      await client.send('PATCH', location, { body: bytes })
      const answers = await Promise.all(
        [1, 2, 3].map(() => client.send('PUT', withDigest(location, sha256(bytes))).then(({ status }) => status)),
      )
      expect(answers.filter(status => status === 201).length).toBe(1)
      expect((await client.send('HEAD', `/v2/${repository('race')}/blobs/${sha256(bytes)}`)).status).toBe(200)
    })

    test('the same blob pushed by many at once is there once', async () => {
      const client = open()
      const bytes = someBytes(50_000)
      const digests = await Promise.all([1, 2, 3, 4, 5].map(at => client.pushBlob(repository(`many${at}`), bytes)))
      for (const [at, digest] of digests.entries()) {
        const got = await follow(await client.send('GET', `/v2/${repository(`many${at + 1}`)}/blobs/${digest}`))
        expect(sha256(new Uint8Array(await got.arrayBuffer()))).toBe(digest)
      }
    })
  })

  describe('distribution-spec: push of manifests', () => {
    test('end-7: PUT by tag and by digest; Location and digest come back', async () => {
      const client = open()
      const { manifest, digest } = await pushImage(client, repository('manifests'), 'v1')
      const again = await client.pushManifest(repository('manifests'), digest, manifest)
      expect([again.status, again.headers.get('docker-content-digest')]).toEqual([201, digest])
      expect(again.headers.get('location')).toContain(digest)
      const other = await client.pushManifest(repository('manifests'), sha256('other'), manifest)
      expect([other.status, await codeOf(other)]).toEqual([400, 'DIGEST_INVALID'])
    })

    test('end-7: MANIFEST_BLOB_UNKNOWN names what is missing; the tag does not appear', async () => {
      const client = open()
      const { config } = await pushImage(client, repository('manifests'), 'v1')
      const missing = descriptor(LAYER_TYPE, 'missing')
      const manifest = {
        schemaVersion: 2,
        mediaType: IMAGE_TYPE,
        config: descriptor(CONFIG_TYPE, config),
        layers: [missing],
      }
      const answer = await client.pushManifest(repository('manifests'), 'incomplete', manifest)
      const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] }
      expect([answer.status, errors[0]?.code]).toEqual([400, 'MANIFEST_BLOB_UNKNOWN'])
      expect(errors[0]?.message).toContain(missing.digest)
      expect((await client.send('HEAD', `/v2/${repository('manifests')}/manifests/incomplete`)).status).toBe(404)
    })

    test.each([
      ['no JSON', '{', IMAGE_TYPE],
      ['no layers', JSON.stringify({ schemaVersion: 2, config: descriptor(CONFIG_TYPE, 'x') }), IMAGE_TYPE],
      [
        'another media type than it says',
        JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] }),
        IMAGE_TYPE,
      ],
      ['schema 1', JSON.stringify({ schemaVersion: 1, config: descriptor(CONFIG_TYPE, 'x'), layers: [] }), IMAGE_TYPE],
    ])('end-7: MANIFEST_INVALID: %s', async (_what, body, type) => {
      const answer = await open().send('PUT', `/v2/${repository('manifests')}/manifests/bad`, {
        body,
        headers: { 'content-type': type },
      })
      expect([answer.status, await codeOf(answer)]).toEqual([400, 'MANIFEST_INVALID'])
    })

    test('a manifest of up to 4 MiB is taken, a larger one is refused', async () => {
      const client = open()
      const { config, layer } = await pushImage(client, repository('large'), 'v1')
      const manifest = (padding: number) => ({
        ...{ schemaVersion: 2, mediaType: IMAGE_TYPE, config: descriptor(CONFIG_TYPE, config) },
        layers: [descriptor(LAYER_TYPE, layer)],
        annotations: { padding: 'x'.repeat(padding) },
      })
      const large = manifest(4 * 1024 * 1024 - 2000)
      expect((await client.pushManifest(repository('large'), 'large', large)).status).toBe(201)
      const got = await client.send('GET', `/v2/${repository('large')}/manifests/large`)
      expect(await got.text()).toBe(JSON.stringify(large))
      const tooLarge = await client.pushManifest(repository('large'), 'too-large', manifest(4 * 1024 * 1024))
      expect(tooLarge.status).toBe(413)
    })

    test('an unknown media type is kept as it came', async () => {
      const client = open()
      const type = 'application/vnd.example.thing.v1+json'
      const body = '{ "any": [1,  2] }'
      const put = await client.send('PUT', `/v2/${repository('manifests')}/manifests/thing`, {
        body,
        headers: { 'content-type': type },
      })
      expect(put.status).toBe(201)
      const got = await client.send('GET', `/v2/${repository('manifests')}/manifests/thing`)
      expect([got.headers.get('content-type'), await got.text()]).toEqual([type, body])
    })

    test('an index of images, nested, and one whose image is missing', async () => {
      const client = open()
      const name = repository('index')
      const { manifest, digest } = await pushImage(client, name, 'amd64')
      const image = {
        ...descriptor(IMAGE_TYPE, JSON.stringify(manifest)),
        platform: { architecture: 'amd64', os: 'linux' },
      }
      expect(image.digest).toBe(digest)
      const index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [image] }
      expect((await client.pushManifest(name, 'multi', index, INDEX_TYPE)).status).toBe(201)
      const outer = { ...index, manifests: [descriptor(INDEX_TYPE, JSON.stringify(index))] }
      expect((await client.pushManifest(name, 'nested', outer, INDEX_TYPE)).status).toBe(201)
      const sparse = { ...index, manifests: [descriptor(IMAGE_TYPE, 'missing')] }
      const answer = await client.pushManifest(name, 'sparse', sparse, INDEX_TYPE)
      expect([answer.status, await codeOf(answer)]).toEqual([400, 'MANIFEST_BLOB_UNKNOWN'])
    })

    test('layers with urls (foreign) need not be there', async () => {
      const client = open()
      const { config } = await pushImage(client, repository('foreign'), 'v1')
      const foreign = { ...descriptor(LAYER_TYPE, 'foreign'), urls: ['https://example.com/layer'] }
      const manifest = {
        schemaVersion: 2,
        mediaType: IMAGE_TYPE,
        config: descriptor(CONFIG_TYPE, config),
        layers: [foreign],
      }
      expect((await client.pushManifest(repository('foreign'), 'v2', manifest)).status).toBe(201)
    })
  })

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

    test('end-10: a blob is deleted from its repository, and from no other', async () => {
      const client = open()
      const digest = await client.pushBlob(repository('del-a'), 'shared by two')
      await client.pushBlob(repository('del-b'), 'shared by two')
      expect((await client.send('DELETE', `/v2/${repository('del-a')}/blobs/${digest}`)).status).toBe(202)
      expect((await client.send('GET', `/v2/${repository('del-a')}/blobs/${digest}`)).status).toBe(404)
      expect((await client.send('HEAD', `/v2/${repository('del-b')}/blobs/${digest}`)).status).toBe(200)
      expect((await client.send('DELETE', `/v2/${repository('del-a')}/blobs/${digest}`)).status).toBe(404)
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

    test('scopes bound what a token may do, where', async () => {
      const name = repository('team/app')
      await pushImage(open(), name, 'v1')
      const token = await scoped([`repository:${repository('team/*')}:pull`])
      const client = registryClient(get().url, token)
      expect((await client.send('GET', `/v2/${name}/manifests/v1`)).status).toBe(200)
      const push = await client.send('POST', `/v2/${name}/blobs/uploads/`)
      expect([push.status, await codeOf(push)]).toEqual([403, 'DENIED'])
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

/** Sends the head of a PATCH that promises more than comes, then cuts the connection. */
async function cutOff(url: URL, token: string, text: string): Promise<void> {
  const socket = connect(Number(url.port), url.hostname)
  const head = [
    `PATCH ${url.pathname} HTTP/1.1`,
    `Host: ${url.host}`,
    `Authorization: Bearer ${token}`,
    `Content-Length: ${text.length + 1000}`,
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n${text}`)
  await new Promise(resolve => setTimeout(resolve, 500))
  socket.destroy()
}
