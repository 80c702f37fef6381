import { expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { openRegistryWorld } from '#test/support/registry-world.ts'
import { createApp } from '../app.ts'
import { newToken } from '../intent/principal.ts'
import { createFirstToken } from '../intent/tokens.ts'

test('with the records out of room new work is refused, and what ends or shows something is not', async () => {
  await using world = await openRegistryWorld()
  const token = newToken(world.ports.random)
  await createFirstToken(world.ports, token)
  const requireRoom = () => {
    throw new SlipwayError('host.disk-full', 'No room.')
  }
  const app = createApp({ portsFor: () => ({ ...world.ports, requireRoom }), onFailure: () => {} })
  const status = async (method: string, path: string, body?: object) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const answer = await app.request(path, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) })
    return answer.status
  }
  const refused = [
    ['/v1/containers', { image: 'a' }],
    ['/v1/builds', { context: 'x', tags: ['a:1'] }],
    ['/v1/contexts', {}],
    ['/v1/images/import', {}],
    ['/v1/containers/some/commit', {}],
    ['/v2/some/blobs/uploads/', {}],
  ] as const
  for (const [path, body] of refused) expect(await status('POST', path, body), path).toBe(507)
  expect(await status('PUT', '/v2/some/manifests/latest', {})).toBe(507)
  expect(await status('GET', '/v1/containers')).toBe(200)
  for (const call of ['stop', 'kill', 'wait']) expect(await status('POST', `/v1/containers/none/${call}`, {})).toBe(404)
  expect(await status('DELETE', '/v1/containers/none?force=true')).toBe(404)
  expect(await status('POST', '/v1/registry/gc', { dryRun: true })).toBe(200)
  expect(await status('POST', '/v1/agent/report', {})).toBe(403) // An operator's token.
})
