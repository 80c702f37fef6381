import { describe, expect, test } from 'vitest'
import { apiClient } from '#infra/local/api-client.ts'
import { codeOf, logOf } from '#test/support/api.ts'
import type { TestSlipway } from '#test/support/slipway.ts'
import { runScript } from './api.contract.ts'

interface Host {
  name: string
  facts: { abilities: { ulimits: Record<string, number>; cpusetCpus: string } }
}

/** Limits, confinement and secrets of containers, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeConfinement(get: () => TestSlipway): void {
  const call = <T>(method: string, path: string, body?: object) => get().api.call<T>(method, path, body)

  describe('how containers are confined', () => {
    test('is as it was asked for, and shown again', async () => {
      const options = {
        ...{ memory: '64m', memorySwap: '96m', ulimits: { nofile: '64:128' }, shmSize: '8m', capDrop: ['all'] },
        ...{ capAdd: ['net_bind_service'], tmpfs: { '/scratch': 'size=1m' }, readOnly: true, groupAdd: [7] },
        ...{ sysctls: { 'net.core.somaxconn': 77 }, noNewPrivileges: false },
      }
      const script = `ulimit -n; grep CapEff /proc/self/status | cut -f 2; cat /proc/sys/net/core/somaxconn
        echo x >/scratch/x && echo scratch; (echo x >/x) 2>/dev/null || echo read-only; grep NoNewPrivs /proc/self/status | cut -f 2`
      const { output } = await runScript(get().api, script, options)
      expect(output).toBe('64\n0000000000000400\n77\nscratch\nread-only\n0\n')
      const { id } = await call<{ id: string }>('POST', '/v1/containers', {
        image: 'busybox',
        start: false,
        ...options,
      })
      expect(await call('GET', `/v1/containers/${id}`)).toMatchObject({
        ...{ memory: 64 * 1024 ** 2, memorySwap: 96 * 1024 ** 2, ulimits: { nofile: { soft: 64, hard: 128 } } },
        ...{ capDrop: ['ALL'], capAdd: ['CAP_NET_BIND_SERVICE'], sysctls: { 'net.core.somaxconn': '77' } },
      })
      await call('DELETE', `/v1/containers/${id}?wait=removed`)
    })

    test('that a host cannot do is refused at once, with what it can', async () => {
      const { items } = await call<{ items: Host[] }>('GET', '/v1/hosts')
      expect(items[0]?.facts.abilities.cpusetCpus).toMatch(/^\d/)
      const create = (options: object) => call('POST', '/v1/containers', { image: 'busybox', ...options })
      expect(await codeOf(create({ cpusetCpus: '4000' }))).toBe('host.unable')
      expect(await codeOf(create({ devices: ['/dev/loop-control'] }))).toBe('host.unable')
      await expect(create({ cpusetCpus: '4000' })).rejects.toThrow('cpusetCpus: this host has no 4000')
    })

    test('and what lets out takes a token with the scope for it', async () => {
      const tokenOf = async (...scopes: string[]) => {
        const { token } = await call<{ token: string }>('POST', '/v1/tokens', { name: 'small', scopes })
        return apiClient(get().api.url, token)
      }
      const [small, large] = [await tokenOf('containers'), await tokenOf('containers:privileged')]
      const body = { image: 'busybox', start: false, seccomp: 'unconfined' }
      expect(await codeOf(small.call('POST', '/v1/containers', body))).toBe('auth.forbidden')
      expect(await codeOf(small.call('POST', '/v1/tokens', { name: 'more' }))).toBe('auth.forbidden')
      expect(await codeOf(small.call('GET', '/v1/secrets'))).toBe('auth.forbidden')
      const { id } = await large.call<{ id: string }>('POST', '/v1/containers', body)
      expect(await small.call('GET', `/v1/containers/${id}`)).toMatchObject({ seccomp: 'unconfined' })
      expect(await codeOf(small.call('POST', `/v1/containers/${id}/update`, { env: ['A=1'] }))).toBe('auth.forbidden')
      await small.call('DELETE', `/v1/containers/${id}?wait=removed`)
    })

    test('secrets are files that each start has anew, and in nothing else', async () => {
      const create = (secrets: unknown[]) =>
        call<{ id: string }>('POST', '/v1/containers?wait=exited&timeout=60', {
          ...{
            image: 'busybox',
            command: ['sh', '-c', 'cat /run/secrets/file; echo; ls -l /run/secrets | tail -n 1'],
            secrets,
          },
        })
      expect(await codeOf(create(['nowhere']))).toBe('secret.not-found')
      await call('PUT', '/v1/secrets/confined', { value: 'first-value' })
      const made = await create([{ name: 'confined', file: 'file', mode: '0400' }])
      expect(await logOf(get().api, made.id)).toMatch(/^first-value\n-r--------/)
      expect(JSON.stringify(await call('GET', `/v1/containers/${made.id}`))).not.toContain('first-value')
      await call('PUT', '/v1/secrets/confined', { value: 'second-value' })
      await call('POST', `/v1/containers/${made.id}/start?wait=exited`, {})
      await expect.poll(() => logOf(get().api, made.id), { timeout: 20_000 }).toContain('second-value')
      await call('DELETE', `/v1/containers/${made.id}?wait=removed`)
      await call('DELETE', '/v1/secrets/confined')
    })
  })
}
