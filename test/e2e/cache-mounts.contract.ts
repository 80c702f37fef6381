import { expect, test } from 'vitest'
import { apiClient } from '#infra/local/api-client.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import type { CacheMountView, FoundMount } from '#shared/protocol/cache-mounts.ts'
import { codeOf } from '#test/support/api.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

const ID = '/cache/of-the-contract'

/** Saved cache mounts in the database and the store that the control plane has. `get` gives a Slipway that has the image `busybox`. */
export function describeCacheMounts(get: () => TestSlipway): void {
  const saved = async () => {
    const { items } = await get().api.call<{ items: CacheMountView[] }>('GET', '/v1/builds/cache/mounts?limit=1000')
    return items.find(({ id }) => id === ID)
  }
  const build = async (script: string) => {
    const { api } = get()
    const context = await uploadFiles(api, {
      Dockerfile: `FROM busybox\nRUN --mount=type=cache,id=${ID},target=/c ${script}\n`,
    })
    const cacheMounts = { save: [ID], restore: true }
    const body = { context, tags: ['mounts:1'], cacheMounts }
    const built = await api.call<BuildView>('POST', '/v1/builds?wait=finished&timeout=60', body)
    let log = ''
    for await (const piece of api.text(`/v1/builds/${built.id}/logs`)) log += piece
    expect(built.state, log).toBe('succeeded')
    return built.id
  }

  test('a cache mount is saved behind its build, found by hosts, replaced by the next, listed and removed', async () => {
    const { api } = get()
    await build('echo one > /c/f')
    expect(await waitUntil(async () => (await saved()) !== undefined, 30_000)).toBe(true)
    const first = await saved()
    const second = await build('cat /c/f; echo two > /c/f')
    expect(await waitUntil(async () => (await saved())?.build === second, 30_000)).toBe(true)
    const mount = await saved()
    expect(mount).toMatchObject({ key: first?.key, bytes: expect.any(Number) })
    expect(mount?.digest).not.toBe(first?.digest)

    const { token } = await api.call<{ token: string }>('POST', '/v1/hosts', { name: 'mounts' })
    const agent = apiClient(api.url, token)
    const find = (id: string) => {
      const query = new URLSearchParams({ id, architecture: mount?.architecture ?? '' })
      return agent.call<FoundMount>('GET', `/v1/agent/builds/cache/mounts?${query}`)
    }
    const found = await find(ID)
    expect(found).toMatchObject({ saved: { digest: mount?.digest, size: mount?.bytes } })
    expect((await find('another')).saved).toBeUndefined()
    const never = `sha256:${'1'.repeat(64)}`
    const told = { id: ID, architecture: mount?.architecture, build: second, saved: { ...found.saved, digest: never } }
    expect(await codeOf(agent.call('PUT', '/v1/agent/builds/cache/mounts', told))).toBe('blob.not-found')
    expect(await codeOf(api.call('PUT', '/v1/agent/builds/cache/mounts', told))).toBe('auth.forbidden')
    expect((await saved())?.digest).toBe(mount?.digest)

    await api.call('DELETE', `/v1/builds/cache/mounts/${mount?.key}`)
    expect(await saved()).toBeUndefined()
    expect(await codeOf(api.call('DELETE', `/v1/builds/cache/mounts/${mount?.key}`))).toBe('cache-mount.not-found')
    await api.call('DELETE', '/v1/hosts/mounts')
  })
}
