import { describe, expect, test } from 'vitest'
import { type ApiClient, apiClient } from '#infra/local/api-client.ts'
import { digestOf } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import type { MissingBlobs } from '#shared/protocol/agent.ts'
import type { FoundSteps } from '#shared/protocol/build-cache.ts'
import type { BuildCacheUsage, PrunedBuildCache } from '#shared/protocol/build-cache-usage.ts'
import { codeOf } from '#test/support/api.ts'
import { stepKey, stepResult } from '#test/support/cached-steps.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

const pathOf = async (name: string) => `/v1/agent/builds/cache/steps/${await stepKey(name)}`

/** As a host sends a layer, straight to the blob store. */
async function upload(agent: ApiClient, text: string): Promise<void> {
  const blob = { mediaType: MEDIA_TYPES.layer, digest: await digestOf(text), size: Buffer.byteLength(text) }
  const { missing } = await agent.call<MissingBlobs>('POST', '/v1/agent/blobs', { blobs: [blob] })
  for (const one of missing) {
    if (!('upload' in one)) throw new Error('a small blob comes in one piece')
    const { url, headers } = one.upload
    expect((await fetch(url, { method: 'PUT', body: text, headers })).ok).toBe(true)
    await agent.call('PUT', `/v1/agent/blobs/${blob.digest}`)
  }
}

/** The fleet's cache of build steps, over HTTP and in the database that the control plane has. */
export function describeBuildCache(get: () => TestSlipway): void {
  const usage = () => get().api.call<BuildCacheUsage>('GET', '/v1/builds/cache')
  const prune = (body: object) => get().api.call<PrunedBuildCache>('POST', '/v1/builds/cache/prune', body)
  const found = async (agent: ApiClient, name: string) =>
    (await agent.call<FoundSteps>('GET', await pathOf(name))).steps

  describe('the build cache', () => {
    test('what one host tells, another is told, with what was built on it; pruned, it is gone', async () => {
      const { api } = get()
      const names = ['cache-a', 'cache-b']
      const made = await Promise.all(names.map(name => api.call<{ token: string }>('POST', '/v1/hosts', { name })))
      const [one, other] = made.map(({ token }) => apiClient(api.url, token))
      if (!one || !other) throw new Error('no hosts')
      const share = async (name: string, result: StepResult, after?: string) =>
        one.call('PUT', await pathOf(name), { result, ...(after === undefined ? {} : { after: await stepKey(after) }) })

      const layers = ['layer of apt', 'layer of make'].map(text => `${text} ${crypto.randomUUID()}`) as [string, string]
      const [apt, make, label] = await Promise.all([
        stepResult(layers[0]),
        stepResult(layers[1]),
        stepResult(undefined),
      ])
      expect(await codeOf(share('apt', apt))).toBe('blob.not-found')
      for (const text of layers) await upload(one, text)
      const wrong = { ...apt, layer: { ...apt.layer, size: 1 } } as StepResult
      expect(await codeOf(share('apt', wrong))).toBe('blob.size-mismatch')
      await share('apt', apt)
      await share('apt', apt)
      await share('make', make, 'apt')
      await share('label', label, 'make')
      const whole = [apt, make, label]
      expect((await found(other, 'apt')).map(({ result }) => result)).toEqual(whole)
      expect((await found(other, 'make')).map(({ result }) => result)).toEqual(whole.slice(1))
      expect(await found(other, 'never built')).toEqual([])

      const { steps, layers: count, bytes, newestUseAt, limits } = await usage()
      expect([steps >= 3, count >= 2, bytes >= layers.join('').length]).toEqual([true, true, true])
      expect(Date.now() - Date.parse(newestUseAt ?? '')).toBeLessThan(3_600_000)
      expect(limits).toEqual({ bytes: 50 * 1024 ** 3, steps: 100_000, unusedFor: '14d' })
      expect(await prune({ unusedFor: '7d' })).toMatchObject({ steps: 0, isComplete: true })
      expect(await prune({ keepBytes: '40g' })).toMatchObject({ steps: 0, bytes: 0 })
      const pruned = await prune({ all: true })
      expect([pruned.steps >= 3, pruned.reclaimableBytes >= layers.join('').length]).toEqual([true, true])
      expect(await found(other, 'apt')).toEqual([])
      await share('apt', apt) // Its bytes wait for garbage collection still.
      expect(await found(other, 'apt')).toHaveLength(1)
      await prune({ keepBytes: 1 })
      expect(await found(other, 'apt')).toEqual([])
      for (const name of names) await api.call('DELETE', `/v1/hosts/${name}`)
    })

    test('hosts alone tell and are told, operators alone prune', async () => {
      const { api } = get()
      const { token } = await api.call<{ token: string }>('POST', '/v1/hosts', { name: 'cache-c' })
      const agent = apiClient(api.url, token)
      const result = await stepResult(undefined)
      expect(await codeOf(api.call('GET', await pathOf('apt')))).toBe('auth.forbidden')
      expect(await codeOf(api.call('PUT', await pathOf('apt'), { result }))).toBe('auth.forbidden')
      expect(await codeOf(agent.call('GET', '/v1/builds/cache'))).toBe('auth.forbidden')
      expect(await codeOf(agent.call('POST', '/v1/builds/cache/prune', { all: true }))).toBe('auth.forbidden')
      expect(await codeOf(agent.call('GET', '/v1/agent/builds/cache/steps/short'))).toBe('request.invalid')
      expect(await codeOf(agent.call('PUT', await pathOf('apt'), { result: {} }))).toBe('request.invalid')
      await api.call('DELETE', '/v1/hosts/cache-c')
    })

    test('a prune that does not say what goes is refused', async () => {
      const vague = [{}, { all: false }, { all: true, unusedFor: '1h' }, { all: true, keepBytes: 1 }]
      const wrong = [{ unusedFor: '24' }, { unusedFor: 24 }, { keepBytes: -1 }, { keepBytes: '1t' }, { until: '24h' }]
      for (const body of [...vague, ...wrong, []])
        expect(await codeOf(prune(body)), JSON.stringify(body)).toBe('request.invalid')
      expect(await codeOf(get().api.call('DELETE', '/v1/builds/cache'))).toBe('request.method-not-allowed')
    })
  })
}
