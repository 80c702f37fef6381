import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import {
  CONFIG_TYPE,
  descriptor,
  IMAGE_TYPE,
  INDEX_TYPE,
  LAYER_TYPE,
  pushImage,
  sha256,
  someBytes,
  suite,
} from './registry-client.ts'

/** OCI distribution-spec 1.1, "Push": see `distribution.contract.ts`. */
export function describeDistributionPush(get: () => { url: string; token: string }): void {
  const { repository, open, codeOf, follow } = suite(get, 'push')
  const withDigest = (location: string, digest: string) => {
    const url = new URL(location)
    url.searchParams.set('digest', digest)
    return url.href
  }

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
      const ahead = await send('6-9', 'ghij')
      const { pathname } = new URL(location)
      expect(ahead.status).toBe(416)
      expect(ahead.headers.get('range')).toBe('0-4')
      expect(ahead.headers.get('location')).toBe(pathname)
      expect(ahead.headers.get('docker-upload-uuid')).toBe(pathname.split('/').at(-1))
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

    test('image-spec, "Registered algorithms": sha512 is one that may be left out; DIGEST_INVALID says so', async () => {
      const client = open()
      const name = repository('sha512')
      const digest = `sha512:${createHash('sha512').update('bytes').digest('hex')}`
      const answers = [
        await client.send('PUT', withDigest(await client.begin(name), digest), { body: 'bytes' }),
        await client.send('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: 'bytes' }),
        await client.send('GET', `/v2/${name}/blobs/${digest}`),
        await client.send('GET', `/v2/${name}/manifests/${digest}`),
        await client.pushManifest(name, digest, { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [] }, INDEX_TYPE),
      ]
      for (const answer of answers) {
        const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] }
        expect([answer.status, errors[0]?.code]).toEqual([400, 'DIGEST_INVALID'])
        expect(errors[0]?.message).toContain('use sha256')
      }
      const manifests = [{ ...descriptor(IMAGE_TYPE, 'x'), digest }]
      const named = await client.pushManifest(name, 'v1', { schemaVersion: 2, manifests }, INDEX_TYPE)
      expect([named.status, await codeOf(named)]).toEqual([400, 'MANIFEST_INVALID'])
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
      [
        'Docker schema 1',
        JSON.stringify({ schemaVersion: 1 }),
        'application/vnd.docker.distribution.manifest.v1+prettyjws',
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

    test('the same bytes under another media type first: what makes an image of them wins', async () => {
      const client = open()
      const { config, layer } = await pushImage(client, repository('healed'), 'first')
      const manifest = {
        ...{ schemaVersion: 2, config: descriptor(CONFIG_TYPE, config), layers: [descriptor(LAYER_TYPE, layer)] },
        annotations: { mark: crypto.randomUUID() },
      }
      expect((await client.pushManifest(repository('healed'), 'odd', manifest, 'text/html')).status).toBe(201)
      expect((await client.pushManifest(repository('healed'), 'right', manifest)).status).toBe(201)
      const got = await client.send('GET', `/v2/${repository('healed')}/manifests/right`)
      expect(got.headers.get('content-type')).toBe(IMAGE_TYPE)
    })

    test('the same bytes under an odd media type in another repository first: it is ours to say what they are', async () => {
      const client = open()
      const mark = { mark: crypto.randomUUID() }
      const index = { schemaVersion: 2, manifests: [], annotations: mark }
      const { config: _, layer } = await pushImage(client, repository('theirs'), 'first')
      await pushImage(client, repository('ours'), 'first')
      for (const name of ['theirs', 'ours'])
        for (const blob of ['{}', layer]) await client.pushBlob(repository(name), blob)
      const config = descriptor('application/vnd.example.config.v1+json', '{}')
      const artifact = { schemaVersion: 2, config, layers: [descriptor(LAYER_TYPE, layer)], annotations: mark }
      for (const [document, type] of [[index, INDEX_TYPE] as const, [artifact, IMAGE_TYPE] as const]) {
        const digest = sha256(JSON.stringify(document))
        for (const [name, said] of [['theirs', 'text/html'] as const, ['ours', type] as const]) {
          expect((await client.pushManifest(repository(name), digest, document, said)).status).toBe(201)
        }
        await client.pushManifest(repository('theirs'), digest, document, 'text/html')
        const got = await client.send('GET', `/v2/${repository('ours')}/manifests/${digest}`)
        expect(got.headers.get('content-type')).toBe(type)
      }
    })

    test('a media type that no header can bear is refused, in whichever place it is', async () => {
      const client = open()
      for (const mediaType of ['a/b\r\nset-cookie: c=d', 'a/€', 'nothing', `a/${'b'.repeat(300)}`]) {
        const body = new TextEncoder().encode(JSON.stringify({ mediaType }))
        const put = await client.send('PUT', `/v2/${repository('manifests')}/manifests/odd`, { body })
        expect([mediaType, put.status, await codeOf(put)]).toEqual([mediaType, 400, 'MANIFEST_INVALID'])
      }
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
