import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { apiClient } from '#infra/local/api-client.ts'
import { pathsOf } from '#infra/local/layout.ts'
import { codeOf } from '#test/support/api.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

interface Made {
  id: string
  keepFor?: string
}

/** Which containers a host may give up, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeExpiry(get: () => TestSlipway): void {
  describe('containers that their host may give up', () => {
    test('are those of its own that have ended and were kept for their time', async () => {
      const { api, layout } = get()
      const make = (body: object) =>
        api.call<Made>('POST', '/v1/containers?wait=exited&timeout=60', {
          ...{ image: 'busybox', command: ['true'], ...body },
        })
      const [young, old, kept] = [await make({ keepFor: '3600s' }), await make({ keepFor: '0s' }), await make({})]
      expect([young, old, kept].map(({ keepFor }) => keepFor)).toEqual(['1h', '0s', undefined])
      const path = ({ id }: Made) => `/v1/agent/containers/${id}/expire`
      expect(await codeOf(api.call('POST', path(old)))).toBe('auth.forbidden')
      const { token } = await api.call<{ token: string }>('POST', '/v1/hosts', { name: 'stranger' })
      expect(await codeOf(apiClient(api.url, token).call('POST', path(old)))).toBe('container.not-found')
      const host = apiClient(api.url, readFileSync(pathsOf(layout).hostToken, 'utf8').trim())
      for (const one of [young, kept]) expect(await codeOf(host.call('POST', path(one)))).toBe('container.kept')
      await host.call('POST', path(old))
      expect(await api.call('POST', `/v1/containers/${young.id}/start?wait=exited`, {})).toMatchObject({ exitCode: 0 })
      await api.call('DELETE', `/v1/containers/${young.id}?wait=removed`)
      await api.call('DELETE', `/v1/containers/${kept.id}?wait=removed`)
      await api.call('DELETE', '/v1/hosts/stranger')
      await expect
        .poll(() => codeOf(api.call('GET', `/v1/containers/${old.id}`)), { timeout: 20_000 })
        .toBe('container.not-found')
    })

    test('have a keepFor that is a duration', async () => {
      const body = { image: 'busybox', keepFor: 'long' }
      expect(await codeOf(get().api.call('POST', '/v1/containers', body))).toBe('request.invalid')
    })
  })
}
