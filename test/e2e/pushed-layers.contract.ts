import { describe, expect, test } from 'vitest'
import { buildContext } from '#infra/local/builds.ts'
import { sha256 } from '#test/conformance/registry-client.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

/** What a build sends to the store that the control plane has. `get` gives a Slipway that has the image `busybox`. */
export function describePushedLayers(get: () => TestSlipway): void {
  describe('layers of a build', () => {
    test('layers that the store has are not uploaded again, unchanged steps are not done again', async () => {
      const files = { Dockerfile: 'FROM busybox\nCOPY a /a\nRUN date > /date\nCOPY b /b\n', a: 'a', b: 'b' }
      const build = async (changed: object) => {
        let log = ''
        const context = await uploadFiles(get().api, { ...files, ...changed })
        const { imageDigest } = await buildContext(get().api, { context, tags: ['cached:1'] }, text => (log += text))
        const { layers } = await get().api.call<{ layers: { digest: string }[] }>('GET', '/v1/images/cached:1')
        const pushed = [...log.matchAll(/pushing layer (sha256:\S+)/g)].map(([, digest]) => digest)
        return {
          imageDigest,
          digests: layers.map(({ digest }) => digest),
          pushed,
          cached: log.split('CACHED').length - 1,
        }
      }
      const { imageDigest, digests, cached } = await build({})
      expect(cached).toBe(0)
      expect(await build({})).toEqual({ imageDigest, digests, cached: 3, pushed: [] })
      const other = await build({ b: 'other' })
      expect(other.cached).toBe(2)
      const [last = ''] = other.digests.slice(-1)
      expect(other.digests.slice(0, -1)).toEqual(digests.slice(0, -1))
      expect(digests).not.toContain(last)
      // By the build, or by who shared it with the fleet before.
      expect([[], [last]]).toContainEqual(other.pushed)
    })

    test('a layer of more than 64 MiB is pushed in parts, and whole', async () => {
      const fill = 'dd if=/dev/urandom of=/big bs=1M count=70 && sha256sum /big > /sum'
      const context = await uploadFiles(get().api, { Dockerfile: `FROM busybox\nRUN ${fill}\n` })
      let log = ''
      await buildContext(get().api, { context, tags: ['large:1'] }, text => (log += text))
      const { layers } = await get().api.call<{ layers: { digest: string; size: number }[] }>(
        'GET',
        '/v1/images/large:1',
      )
      const { digest = '', size = 0 } = layers.at(-1) ?? {}
      expect(size).toBeGreaterThan(64 * 1024 * 1024)
      const headers = { authorization: `Bearer ${get().operatorToken}` }
      const blob = await fetch(`${get().api.url}/v2/large/blobs/${digest}`, { headers })
      expect(sha256(await blob.bytes())).toBe(digest)
      // Unless it was shared with the fleet before, the same way.
      const pushes = log.match(/pushing layer .*/g) ?? []
      expect(pushes.filter(line => line !== `pushing layer ${digest} in 2 parts`)).toEqual([])
    })
  })
}
