import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bootPullThrough, type PullThrough } from '#test/support/pull-through.ts'
import { IMAGE_TYPE, INDEX_TYPE, sha256, someBytes } from './registry-client.ts'

/** Images of other registries, pulled through: a real upstream behind a proxy that counts and misbehaves. */

let world: PullThrough

beforeAll(async () => {
  world = await bootPullThrough()
})
afterEach(() => world.proxy.misbehave(undefined))
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
})

const codeOf = async (answer: Response) => ((await answer.json()) as { code: string }).code

describe('an image of an upstream', () => {
  test('is fetched once, verified, and served from then on', async () => {
    const { proxy, push, resolve, blob } = world
    const image = await push('library/once', '1')
    const first = await resolve('docker.io/library/once:1')
    expect([first.status, first.body.digest, first.body.config.architecture]).toEqual([200, image.digest, 'amd64'])
    expect(proxy.count('GET', '/library/once/blobs/')).toBe(1) // Its configuration; layers come when they are asked for.
    expect(Buffer.from((await blob(sha256(image.layer))).bytes).toString()).toBe(image.layer)
    const asked = proxy.count('GET', '/library/once/')
    await resolve('docker.io/once:1')
    await resolve(`docker.io/library/once@${image.digest}`)
    await blob(sha256(image.layer))
    expect(proxy.count('GET', '/library/once/')).toBe(asked)
    expect(proxy.count('GET', '/library/once/manifests/')).toBe(2) // The second after the challenge.
  })

  test('a short name is ours first, then the Hub’s; a repository of ours is ours with all its tags', async () => {
    const { resolve, push, pushOwn } = world
    const theirs = await push('library/short', '1')
    expect((await resolve('short:1')).body.digest).toBe(theirs.digest)
    const ours = await pushOwn('short', '1')
    expect((await resolve('short:1')).body.digest).toBe(ours.digest)
    await push('library/short', '2')
    expect(await resolve('short:2')).toMatchObject({ status: 404, body: { code: 'image.not-found' } })
    expect((await resolve('docker.io/short:1')).body.digest).toBe(theirs.digest)
  })

  test('what is nowhere is not found, and a registry that is not configured is not asked', async () => {
    const { resolve } = world
    expect(await resolve('nowhere:1')).toMatchObject({ status: 404, body: { code: 'image.not-found' } })
    expect(await resolve('docker.io/library/nowhere:1')).toMatchObject({ body: { code: 'upstream.not-found' } })
    expect(await resolve('127.0.0.1:1/a:1')).toMatchObject({ status: 404, body: { code: 'image.not-found' } })
  })

  test('POST /v1/containers takes it, and GET /v1/images knows it by both names', async () => {
    const { api, push } = world
    const image = await push('library/run', '1')
    await api('POST', '/v1/containers', { image: 'run:1' }) // No host is there to place it on; the image is here.
    const inspect = await api('GET', '/v1/images/run:1')
    expect([inspect.status, ((await inspect.json()) as { digest: string }).digest]).toEqual([200, image.digest])
    expect((await api('DELETE', '/v1/images/run:1')).status).toBe(204)
    expect((await api('GET', `/v1/images/${encodeURIComponent('docker.io/library/run:1')}`)).status).toBe(404)
  })
})

describe('an index', () => {
  test('brings the wanted platform alone; another one comes when a client asks for it', async () => {
    const { proxy, push, pushIndex, resolve, client } = world
    const amd64 = await push('library/multi', 'amd64')
    const arm64 = await push('library/multi', 'arm64', 'arm64')
    const index = await pushIndex('library/multi', '1', [
      { digest: amd64.digest, size: JSON.stringify(amd64.manifest).length, architecture: 'amd64' },
      { digest: arm64.digest, size: JSON.stringify(arm64.manifest).length, architecture: 'arm64' },
    ])
    expect((await resolve('multi:1')).body.digest).toBe(amd64.digest)
    expect(proxy.count('GET', arm64.digest)).toBe(0)
    const path = '/v2/docker.io/library/multi'
    const pulled = await client.send('GET', `${path}/manifests/1`)
    expect([pulled.status, pulled.headers.get('content-type')]).toEqual([200, INDEX_TYPE])
    expect(sha256(await pulled.text())).toBe(index)
    const other = await client.send('GET', `${path}/manifests/${arm64.digest}`)
    expect([other.status, other.headers.get('content-type')]).toEqual([200, IMAGE_TYPE])
    expect(await (await client.send('GET', `${path}/blobs/${sha256(arm64.layer)}`)).text()).toBe(arm64.layer)
    expect(await resolve('multi:1', 'riscv64')).toMatchObject({ body: { code: 'image.wrong-architecture' } })
  })
})

describe('a mirror of the Distribution API', () => {
  test('serves manifests and blobs under the upstream’s name, and to containerd by its ns', async () => {
    const { proxy, push, client } = world
    const image = await push('library/mirror', '1')
    const named = await client.send('GET', '/v2/library/mirror/manifests/1?ns=docker.io')
    expect([named.status, named.headers.get('docker-content-digest')]).toEqual([200, image.digest])
    const layer = sha256(image.layer)
    const head = await client.send('HEAD', `/v2/docker.io/library/mirror/blobs/${layer}`)
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(image.layer.length)])
    expect(proxy.count('GET', layer)).toBe(0)
    expect(await (await client.send('GET', `/v2/library/mirror/blobs/${layer}?ns=docker.io`)).text()).toBe(image.layer)
    expect((await client.send('GET', '/v2/library/mirror/manifests/1')).status).toBe(404)
    expect((await client.send('GET', '/v2/library/mirror/manifests/1?ns=other.example')).status).toBe(404)
  })

  test('takes nothing from anyone but the upstream', async () => {
    const { api, client } = world
    const begun = await client.send('POST', '/v2/docker.io/library/mine/blobs/uploads/')
    expect([begun.status, await begun.text()]).toEqual([403, expect.stringContaining('upstream.read-only')])
    await world.pushOwn('taggable', '1')
    const tagged = await api('POST', '/v1/images/taggable:1/tag', { tag: 'docker.io/library/mine:1' })
    expect([tagged.status, await codeOf(tagged)]).toEqual([403, 'upstream.read-only'])
  })

  test('an image tagged as ours brings its layers along when they are asked for', async () => {
    const { api, push, resolve, client } = world
    const image = await push('library/copied', '1')
    await resolve('copied:1')
    expect((await api('POST', '/v1/images/copied:1/tag', { tag: 'team/copied:1' })).status).toBe(201)
    const layer = await client.send('GET', `/v2/team/copied/blobs/${sha256(image.layer)}`)
    expect([layer.status, await layer.text()]).toEqual([200, image.layer])
  })
})

describe('a tag', () => {
  test('is looked up again after its time, by HEAD; a new image is fetched', async () => {
    const { proxy, push, resolve } = world
    const old = await push('team/moving', '1')
    expect((await resolve('fresh.example/team/moving:1')).body.digest).toBe(old.digest)
    const gets = proxy.count('GET', '/team/moving/')
    expect((await resolve('fresh.example/team/moving:1')).body.digest).toBe(old.digest)
    expect([proxy.count('GET', '/team/moving/'), proxy.count('HEAD', '/team/moving/') > 0]).toEqual([gets, true])
    const moved = await push('team/moving', '1')
    expect((await resolve('fresh.example/team/moving:1')).body.digest).toBe(moved.digest)
  })

  test('is served as it was while the upstream is down, with a note; so is what is known by digest', async () => {
    const { proxy, push, resolve, blob, log } = world
    const image = await push('team/down', '1')
    await resolve('fresh.example/team/down:1')
    await blob(sha256(image.layer))
    proxy.misbehave((_, response) => response.destroy() !== undefined)
    expect((await resolve('fresh.example/team/down:1')).body.digest).toBe(image.digest)
    expect((await resolve(`fresh.example/team/down@${image.digest}`)).status).toBe(200)
    expect((await blob(sha256(image.layer))).status).toBe(200)
    expect(log()).toContain('a tag is served as it was')
    expect(await resolve('fresh.example/team/down:2')).toMatchObject({ body: { code: 'upstream.unreachable' } })
  })
})

describe('a blob', () => {
  test('twenty who want it at once share one fetch', async () => {
    const { proxy, push, resolve, blob } = world
    const bytes = someBytes(3_000_000)
    const image = await push('library/crowd', '1', 'amd64', bytes)
    await Promise.all(Array.from({ length: 20 }, () => resolve('crowd:1')))
    expect(proxy.count('GET', '/crowd/manifests/1')).toBeLessThanOrEqual(2)
    const all = await Promise.all(Array.from({ length: 20 }, () => blob(sha256(bytes))))
    expect(all.every(({ status, bytes: got }) => status === 200 && sha256(got) === sha256(bytes))).toBe(true)
    expect(proxy.count('GET', sha256(bytes))).toBe(1)
    expect(proxy.count('GET', image.manifest.config.digest)).toBe(1)
  })

  test('two processes share one fetch by the lease in the store', async () => {
    const { proxy, push, resolve, blob, second } = world
    const bytes = someBytes(2_000_000)
    await push('library/pair', '1', 'amd64', bytes)
    await resolve('pair:1')
    proxy.misbehave(({ path, method }, response) => {
      if (method !== 'GET' || !path.includes(sha256(bytes))) return false
      setTimeout(() => response.writeHead(200, { 'content-length': bytes.length }).end(bytes), 1500)
      return true
    })
    await using other = await second()
    const [here, there] = await Promise.all([blob(sha256(bytes)), other.blob(sha256(bytes))])
    expect([sha256(here.bytes), sha256(there.bytes)]).toEqual([sha256(bytes), sha256(bytes)])
    expect(proxy.count('GET', sha256(bytes))).toBe(1)
  })

  test('a process that ends while it fetches is followed by another one', async () => {
    const { proxy, push, resolve, blob, second } = world
    const bytes = someBytes(500_000)
    await push('library/heir', '1', 'amd64', bytes)
    await resolve('heir:1')
    const begun = Promise.withResolvers<void>()
    proxy.misbehave(({ path }, response) => {
      if (!path.includes(sha256(bytes))) return false
      response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 1000))
      begun.resolve()
      return true
    })
    const other = await second()
    const lost = other.blob(sha256(bytes)).catch(() => undefined)
    await begun.promise
    await other[Symbol.asyncDispose]()
    await lost
    proxy.misbehave(undefined)
    expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes)) // Once the claim is 30 s old.
  })

  test('wrong bytes are an error, and nothing of them is visible', async () => {
    const { proxy, push, resolve, blob } = world
    const bytes = someBytes(100_000)
    await push('library/wrong', '1', 'amd64', bytes)
    await resolve('wrong:1')
    for (const body of [someBytes(100_000), someBytes(100_001)]) {
      proxy.misbehave(({ path }, response) => path.includes(sha256(bytes)) && response.end(body) !== undefined)
      expect(await blob(sha256(bytes))).toMatchObject({ status: 502, code: 'upstream.digest-mismatch' })
    }
    const head = await world.client.send('GET', `/v2/docker.io/library/wrong/blobs/${sha256(bytes)}`)
    expect(head.status).toBe(502)
    proxy.misbehave(undefined)
    expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes))
  })

  test('wrong or half bytes of a mirror are made good by the registry itself', async () => {
    const { mirror, push, resolve, blob } = world
    for (const size of [100_000, 50_000]) {
      const bytes = someBytes(100_000)
      await push('library/bad-mirror', String(size), 'amd64', bytes)
      await resolve(`bad-mirror:${size}`)
      const lie = someBytes(100_000).subarray(0, size)
      mirror.misbehave(({ path }, response) => path.includes(sha256(bytes)) && response.end(lie) !== undefined)
      expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes))
    }
    mirror.misbehave(undefined)
  })

  test('a body that is cut short goes on from there', async () => {
    const { proxy, push, resolve, blob } = world
    const bytes = someBytes(1_000_000)
    await push('library/cut', '1', 'amd64', bytes)
    await resolve('cut:1')
    let cuts = 0
    proxy.misbehave(({ path }, response) => {
      if (!path.includes(sha256(bytes)) || cuts++ > 0) return false
      response.writeHead(200, { 'content-length': bytes.length, 'accept-ranges': 'bytes' })
      response.write(bytes.subarray(0, 400_000), () => setTimeout(() => response.destroy(), 100))
      return true
    })
    expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes))
    expect(proxy.seen.filter(({ path }) => path.includes(sha256(bytes))).map(({ range }) => range)).toEqual([
      undefined,
      expect.stringMatching(/^bytes=[1-9]\d*-$/),
    ])
  })

  test('an upstream that stalls is given up and asked again', async () => {
    const { proxy, push, resolve, blob } = world
    const bytes = someBytes(200_000)
    await push('library/stall', '1', 'amd64', bytes)
    await resolve('stall:1')
    let stalls = 0
    proxy.misbehave(({ path }, response) => {
      if (!path.includes(sha256(bytes)) || stalls++ > 0) return false
      response.writeHead(200, { 'content-length': bytes.length })
      response.write(bytes.subarray(0, 1000))
      return true
    })
    expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes))
  })
})

describe('a blob that is long on its way', () => {
  test('is announced before it is here, and follows when it is; wrong bytes never do', async () => {
    const { proxy, push, client, resolve } = world
    const slow = someBytes(300_000)
    const wrong = someBytes(300_000)
    const given = new Map([slow, wrong].map(bytes => [sha256(bytes), bytes === slow ? slow : someBytes(300_000)]))
    for (const [tag, bytes] of Object.entries({ slow, wrong })) {
      await push('library/late', tag, 'amd64', bytes)
      await resolve(`late:${tag}`)
    }
    const answered = Promise.withResolvers<void>()
    proxy.misbehave(({ path }, response) => {
      const bytes = given.get(path.slice(path.lastIndexOf('/') + 1))
      if (!bytes) return false
      response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 1000))
      answered.promise.then(() => response.end(bytes.subarray(1000)))
      return true
    })
    const ask = (bytes: Uint8Array, headers: Record<string, string> = {}) =>
      client.send('GET', `/v2/docker.io/library/late/blobs/${sha256(bytes)}`, { headers })
    const [whole, part, lie] = await Promise.all([ask(slow), ask(slow, { range: 'bytes=9-99' }), ask(wrong)])
    expect([whole, lie].map(({ status, headers }) => [status, headers.get('content-length')])).toEqual([
      [200, '300000'],
      [200, '300000'],
    ])
    expect([part.status, part.headers.get('content-range')]).toEqual([206, 'bytes 9-99/300000'])
    answered.resolve() // The upstream says the rest only when all three have their headers.
    expect(sha256(new Uint8Array(await whole.arrayBuffer()))).toBe(sha256(slow))
    expect(new Uint8Array(await part.arrayBuffer())).toEqual(slow.subarray(9, 100))
    await expect(lie.arrayBuffer()).rejects.toThrow()
    expect((await ask(wrong)).status).toBe(502)
    proxy.misbehave(undefined)
  })
})

describe('a manifest', () => {
  test('with another digest than was asked for, too large, or no manifest at all is refused', async () => {
    const { proxy, push, client } = world
    const image = await push('library/liar', '1')
    const path = `/v2/docker.io/library/liar/manifests/${image.digest}`
    const lies = [
      [{ 'content-type': IMAGE_TYPE }, '{"schemaVersion":2}', 'upstream.digest-mismatch'],
      [{ 'content-type': IMAGE_TYPE }, ' '.repeat(4 * 1024 * 1024 + 1), 'upstream.answer-invalid'],
      [{ 'content-type': 'text/html' }, '<html>', 'upstream.answer-invalid'],
    ] as const
    for (const [headers, body, code] of lies) {
      proxy.misbehave((_, response) => response.writeHead(200, headers).end(body) !== undefined)
      const answer = await client.send('GET', path)
      expect([answer.status, await answer.text()]).toEqual([502, expect.stringContaining(code)])
    }
    proxy.misbehave(undefined)
    expect((await client.send('GET', path)).status).toBe(200)
  })
})

describe('limits and trust', () => {
  test('a rate limit is said as such: when to try again, and what helps', async () => {
    const { limited, resolve, client } = world
    limited.misbehave(
      (_, response) =>
        response.writeHead(429, { 'retry-after': '7', 'ratelimit-limit': '100;w=21600' }).end() !== undefined,
    )
    const answer = await resolve('limited.example/a:1')
    expect(answer).toMatchObject({
      status: 429,
      retryAfter: '7',
      body: { code: 'upstream.rate-limited', facts: { retryAfterS: 7, limit: 100, windowS: 21_600 } },
    })
    expect(answer.body.detail).toMatch(/7 s.*100 pulls in 6 h.*credentials/)
    const asked = limited.seen.length
    const again = await client.send('GET', '/v2/limited.example/a/manifests/1')
    expect([again.status, await again.text()]).toEqual([429, expect.stringContaining('TOOMANYREQUESTS')])
    expect(limited.seen.length).toBe(asked) // It said when to come again.
  })

  test('mirrors come first and get no credentials; one that fails is passed over', async () => {
    const { mirror, proxy, push, resolve } = world
    const challenge = `Bearer realm="${mirror.url}/token",service="registry.docker.io"`
    const failing = (status: number) => {
      mirror.misbehave(({ path }, response) => {
        if (path.startsWith('/token')) return response.end('{"token":"t"}') !== undefined
        const headers = { 'retry-after': '1', 'www-authenticate': status === 401 ? challenge : 'Basic realm="x"' }
        return response.writeHead(status, headers).end() !== undefined
      })
    }
    for (const status of [404, 500, 401, 403, 429]) {
      const image = await push(`library/mirrored-${status}`, '1')
      failing(status)
      expect((await resolve(`mirrored-${status}:1`)).body.digest).toBe(image.digest)
      expect(mirror.count('GET', `/library/mirrored-${status}/manifests`)).toBeGreaterThan(0)
    }
    expect(mirror.count('GET', '/token?service=registry.docker.io')).toBeGreaterThan(0)
    expect(mirror.seen.filter(({ authorization }) => authorization?.startsWith('Basic'))).toEqual([])
    expect(proxy.seen.some(({ authorization }) => authorization?.startsWith('Basic'))).toBe(true)
    mirror.misbehave(undefined)
  })

  test('a token is asked for at the realm, with scope and service, and used until it ends', async () => {
    const { tokens, push, resolve, blob } = world
    const image = await push('team/token', '1')
    expect((await resolve('token.example/team/token:1')).body.digest).toBe(image.digest)
    expect((await blob(sha256(image.layer))).status).toBe(200)
    const asked = tokens.seen.filter(({ path }) => path.startsWith('/token'))
    expect(asked).toHaveLength(1)
    const { searchParams } = new URL(asked[0]?.path ?? '', tokens.url)
    expect([...searchParams]).toEqual([
      ['service', 'test'],
      ['scope', 'repository:team/token:pull'],
    ])
    expect(asked[0]?.authorization).toBe(`Basic ${btoa('somebody:something')}`)
  })

  test('a redirect to another origin takes no authorization along', async () => {
    const { proxy, mirror, push, resolve, blob } = world
    const bytes = someBytes(50_000)
    await push('library/moved', '1', 'amd64', bytes)
    await resolve('moved:1')
    mirror.misbehave(({ path }, response) => path === '/storage?key=secret' && response.end(bytes) !== undefined)
    const location = `${mirror.url}/storage?key=secret`
    proxy.misbehave(
      ({ path }, response) => path.includes(sha256(bytes)) && response.writeHead(307, { location }).end() !== undefined,
    )
    expect(sha256((await blob(sha256(bytes))).bytes)).toBe(sha256(bytes))
    expect(proxy.seen.at(-1)?.authorization).toMatch(/^Basic /)
    expect(mirror.seen.at(-1)).toMatchObject({ path: '/storage?key=secret', authorization: undefined })
    mirror.misbehave(undefined)
  })

  test('passwords are in no log, and in no file of the store', () => {
    const { folder, password, log } = world
    expect(log()).not.toContain(password)
    for (const name of ['slipway.db', 'slipway.db-wal']) {
      expect(readFileSync(join(folder, name), 'latin1')).not.toContain(password)
    }
  })
})
