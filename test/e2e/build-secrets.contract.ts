import { expect, test } from 'vitest'
import { codeOf } from '#test/support/api.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

/** Secrets of builds, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeBuildSecrets(get: () => TestSlipway): void {
  test('a build gets secrets by value and by name, and no answer has them', async () => {
    const { api } = get()
    await api.call('PUT', '/v1/secrets/kept', { value: 'kept-and-hidden' })
    const step = 'RUN --mount=type=secret,id=a --mount=type=secret,id=b cat /run/secrets/*; wc -c /run/secrets/*'
    const context = await uploadFiles(api, { Dockerfile: `FROM busybox\n${step}\n` })
    const secrets = { a: 'given-and-hidden', b: { secret: 'kept' } }
    const body = { context, tags: ['secret:1'], secrets }
    const made = await api.call<{ id: string }>('POST', '/v1/builds?wait=finished', body)
    const build = await api.call<{ state: string }>('GET', `/v1/builds/${made.id}`)
    let log = ''
    for await (const piece of api.text(`/v1/builds/${made.id}/logs`)) log += piece
    expect(build.state, log).toBe('succeeded')
    expect(log).toContain('31 total')
    expect(log.replace(step, '') + JSON.stringify([made, build])).not.toContain('hidden')
    await api.call('DELETE', '/v1/secrets/kept')
    const lost = { context, tags: ['secret:2'], secrets: { a: { secret: 'kept' } } }
    expect(await codeOf(api.call('POST', '/v1/builds', lost))).toBe('secret.not-found')
  })
}
