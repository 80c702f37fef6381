import { describe, expect, test } from 'vitest'
import { readUpstreams } from '#shared/domain/upstream.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { upstreamProxy } from '#test/support/upstream-proxy.ts'
import { httpUpstreams } from './http-upstreams.ts'
import { hopTo } from './upstream-hop.ts'
import { readRetryAfter } from './upstream-rate-limit.ts'
import { readChallenge } from './upstream-token.ts'

/** The client against a server that misbehaves; `test/conformance/pull-through.test.ts` has it against a real registry. */

describe('where an upstream may send us', () => {
  const PUBLIC = 'https://registry.example'
  const INSIDE = 'http://127.0.0.1:5000'

  test.each([
    [PUBLIC, 'https://cdn.example/x?sig=1'],
    [PUBLIC, '/v2/elsewhere'],
    [INSIDE, 'http://127.0.0.1:9000/x'],
    [INSIDE, 'https://cdn.example/x'],
    [PUBLIC, 'https://172.32.0.1/x'],
  ])('%s to %s', (endpoint, target) => {
    expect(hopTo(endpoint, target, new URL(endpoint)).href).toBe(new URL(target, endpoint).href)
  })

  test.each([
    [PUBLIC, 'http://cdn.example/x'],
    [PUBLIC, 'https://127.0.0.1/x'],
    [PUBLIC, 'https://169.254.169.254/latest'],
    [PUBLIC, 'https://10.0.0.1/x'],
    [PUBLIC, 'https://2130706433/x'],
    [PUBLIC, 'https://[::1]/x'],
    [PUBLIC, 'https://[::ffff:10.0.0.1]/x'],
    [PUBLIC, 'https://[fd00::1]/x'],
    [PUBLIC, 'https://localhost/x'],
    [PUBLIC, 'https://localhost./x'],
    [PUBLIC, 'https://a.localhost./x'],
    [PUBLIC, 'https://u:p@cdn.example/x'],
    [PUBLIC, 'file:///etc/passwd'],
    [PUBLIC, null],
  ])('never %s to %s', (endpoint, target) => {
    const hop = () => hopTo(endpoint, target, new URL(endpoint))
    expect(hop).toThrow(expect.objectContaining({ code: 'upstream.answer-invalid' }))
  })
})

describe('challenges', () => {
  test.each([
    [
      'Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push"',
      'repository:a/b:pull,push',
    ],
    ['Basic realm="x", bearer realm="https://auth.example/token",service=r', undefined],
  ])('%s', (header, scope) => {
    expect(readChallenge(header)).toMatchObject({ scheme: 'bearer', realm: 'https://auth.example/token', scope })
  })
  test('Basic alone, and nothing that is known', () => {
    expect(readChallenge('Basic realm="x"')).toEqual({ scheme: 'basic' })
    expect([readChallenge(null), readChallenge('Bearer service="no realm"'), readChallenge('Negotiate')]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  })
})

test.each([
  ['7', 7],
  ['0', 1],
  ['Thu, 01 Jan 1970 00:01:00 GMT', 60],
  ['Thu, 01 Jan 1970 00:00:00 GMT', 1],
  ['99999999', 86_400],
  ['soon', 60],
  [null, 60],
])('Retry-After: %s is %i s', (text, seconds) => {
  expect(readRetryAfter(text, 0)).toBe(seconds)
})

describe('an endpoint', () => {
  const AT = { registry: 'a.example', remote: 'team/app' }
  const open = (...endpoints: string[]) =>
    httpUpstreams(readUpstreams(JSON.stringify([{ registry: 'a.example', endpoints }])), systemClock)

  test('that is not configured is never asked', async () => {
    const upstreams = open('http://127.0.0.1:1')
    expect(upstreams.find('b.example')).toBeUndefined()
    const asking = upstreams.manifest({ registry: 'b.example', remote: 'x' }, '1')
    await expect(asking).rejects.toMatchObject({ code: 'upstream.denied' })
  })

  test('that passes failures is asked three times, and said to be unreachable', async () => {
    await using proxy = await upstreamProxy(undefined)
    proxy.misbehave((_, response) => response.writeHead(503).end() !== undefined)
    await expect(open(proxy.url).manifest(AT, '1')).rejects.toMatchObject({ code: 'upstream.unreachable' })
    expect(proxy.seen).toHaveLength(3)
  })

  test('that redirects without end, or to where it must not, is not followed', async () => {
    await using proxy = await upstreamProxy(undefined)
    proxy.misbehave(({ path }, response) => response.writeHead(302, { location: `${path}/x` }).end() !== undefined)
    await expect(open(proxy.url).manifest(AT, '1')).rejects.toMatchObject({ code: 'upstream.answer-invalid' })
    expect(proxy.seen).toHaveLength(6)
    proxy.misbehave((_, response) => response.writeHead(302, { location: 'gopher://x' }).end() !== undefined)
    await expect(open(proxy.url).manifest(AT, '1')).rejects.toMatchObject({ code: 'upstream.answer-invalid' })
  })

  test('whose redirect asks for credentials gets none', async () => {
    await using thief = await upstreamProxy(undefined)
    thief.misbehave(({ path }, response) => {
      const headers = { 'www-authenticate': `Bearer realm="${thief.url}/token"` }
      return !path.startsWith('/token') && response.writeHead(401, headers).end() !== undefined
    })
    await using proxy = await upstreamProxy(undefined)
    proxy.misbehave((_, response) => response.writeHead(307, { location: `${thief.url}/x` }).end() !== undefined)
    await expect(open(proxy.url).manifest(AT, '1')).rejects.toMatchObject({ code: 'upstream.denied' })
    expect(thief.seen.map(({ path }) => path)).toEqual(['/x'])
  })
})
