import { describe, expect, test } from 'vitest'
import { type ApiClient, apiClient } from '#infra/local/api-client.ts'
import { waitUntil } from '#infra/local/processes.ts'
import { digestOf } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import type { MissingBlobs } from '#shared/protocol/agent.ts'
import type { FoundSteps } from '#shared/protocol/build-cache.ts'
import type { BuildCacheUsage, PrunedBuildCache } from '#shared/protocol/build-cache-usage.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import type { PrunedHost } from '#shared/protocol/prune-host.ts'
import { codeOf } from '#test/support/api.ts'
import { stepKey, stepResult } from '#test/support/cached-steps.ts'
import { uploadFiles } from '#test/support/contexts.ts'
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
      const anew = { ...apt, created: '2026-02-02T00:00:00.000Z' }
      await share('apt', anew)
      expect((await found(other, 'apt'))[0]?.result).toEqual(apt)
      await one.call('PUT', await pathOf('apt'), { result: anew, isAnew: true })
      expect((await found(other, 'apt'))[0]?.result).toEqual(anew)
      await one.call('PUT', await pathOf('apt'), { result: apt, isAnew: true })
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

    test('a host gives up what it can fetch or make again, and says how much that was', async () => {
      const { api } = get()
      const { items } = await api.call<{ items: { name: string; state: string }[] }>('GET', '/v1/hosts')
      const name = items.find(({ state }) => state === 'ready')?.name
      const pruned = (body: object, host = name) =>
        api.call<PrunedHost>('POST', `/v1/hosts/${encodeURIComponent(host ?? '')}/prune`, body)
      const context = await uploadFiles(api, {
        Dockerfile: `FROM scratch\nCOPY Dockerfile /\n# ${crypto.randomUUID()}\n`,
      })
      const build = async () => {
        const body = { context, tags: ['pruned:1'] }
        const { id } = await api.call<BuildView>('POST', '/v1/builds?wait=finished', body)
        let log = ''
        for await (const piece of api.text(`/v1/builds/${id}/logs`)) log += piece
        return log
      }
      expect(await build()).not.toContain('CACHED')
      // What a build made stays until it is over on its host, a moment after it was said to be.
      const isPruned = async () => {
        const { cachedSteps, bytes } = await pruned({ buildCache: true })
        return cachedSteps >= 1 && bytes > 0
      }
      expect(await waitUntil(isPruned, 30_000)).toBe(true)
      // The host has no step any more, but the fleet, once it was told in the background.
      const isTold = async () => {
        await pruned({ buildCache: true })
        return (await build()).includes('CACHED')
      }
      expect(await waitUntil(isTold, 60_000)).toBe(true)
      expect(await pruned({ buildCache: true, keepBytes: '1g' })).toEqual({ images: 0, cachedSteps: 0, bytes: 0 })
      expect(await pruned({ images: true, unusedFor: '7d' })).toEqual({ images: 0, cachedSteps: 0, bytes: 0 })
      for (const body of [{}, { image: true }, { images: true, keepBytes: 1 }, { images: true, unusedFor: 1 }])
        expect(await codeOf(pruned(body)), JSON.stringify(body)).toBe('request.invalid')
      expect(await codeOf(pruned({ images: true }, 'nobody'))).toBe('host.not-found')
      await api.call('POST', '/v1/hosts', { name: 'cache-away' })
      expect(await codeOf(pruned({ images: true }, 'cache-away'))).toBe('host.unreachable')
      await api.call('DELETE', '/v1/hosts/cache-away')
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
