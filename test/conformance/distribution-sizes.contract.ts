import { describe, expect, test } from 'vitest'
import { pushImage, sha256, suite } from './registry-client.ts'

/** OCI distribution-spec 1.1, "Push": sizes that are announced and not true. See `distribution.contract.ts`. */
export function describeDistributionSizes(get: () => { url: string; token: string }): void {
  const { repository, open, codeOf } = suite(get, 'sizes')

  describe('distribution-spec: sizes that are not true', () => {
    test('a chunk of another length than its Content-Range is refused before a byte of it is taken', async () => {
      const client = open()
      const location = await client.begin(repository('length'))
      const send = (range: string, body: string) =>
        client.send('PATCH', location, { body, headers: { 'content-range': range } })
      expect((await send('0-9', 'abcde')).status).toBe(400)
      expect((await send('0-2', 'abcde')).status).toBe(400)
      expect((await send('0-4', 'abcde')).status).toBe(202)
      expect((await client.send('PUT', `${location}?digest=${sha256('abcde')}`)).status).toBe(201)
    })

    test('end-7: MANIFEST_INVALID for a descriptor of another size than its blob', async () => {
      const client = open()
      const { manifest } = await pushImage(client, repository('sizes'), 'v1')
      const layers = manifest.layers.map(layer => ({ ...layer, size: layer.size + 1 }))
      const answer = await client.pushManifest(repository('sizes'), 'v2', { ...manifest, layers })
      expect([answer.status, await codeOf(answer)]).toEqual([400, 'MANIFEST_INVALID'])
      expect((await client.send('HEAD', `/v2/${repository('sizes')}/manifests/v2`)).status).toBe(404)
    })
  })
}
