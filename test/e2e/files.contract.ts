import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import type { ApiClient } from '#infra/local/api-client.ts'
import { codeOf, logOf } from '#test/support/api.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

/** The files of containers through the API, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeFiles(get: () => TestSlipway): void {
  const call = <T>(...args: Parameters<ApiClient['call']>) => get().api.call<T>(...args)
  const start = (name: string, script: string, extra: object = {}) =>
    call<{ id: string }>('POST', `/v1/containers?wait=${name === 'writer' ? 'running' : 'exited'}`, {
      ...{ image: 'busybox', name, command: ['sh', '-c', script] },
      ...extra,
    })
  const changesOf = async (name: string) => {
    const { items } = await call<{ items: { kind: string; path: string }[] }>('GET', `/v1/containers/${name}/changes`)
    return items.map(({ kind, path }) => `${kind} ${path}`)
  }
  const download = async (path: string) => {
    const headers = { authorization: `Bearer ${get().operatorToken}` }
    const answer = await fetch(get().api.url + path, { headers, signal: AbortSignal.timeout(60_000) })
    return {
      status: answer.status,
      type: answer.headers.get('content-type'),
      bytes: Buffer.from(await answer.arrayBuffer()),
    }
  }
  const tar = (flags: string[], input: Buffer) =>
    execFileSync('tar', flags, { input, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })

  describe('the files of a container', () => {
    test('changes: of one that runs, the same once it has ended, none of a container that did nothing', async () => {
      const script = 'echo x > /etc/made; rm /bin/vi; echo ready; trap "exit 0" TERM; while :; do sleep 0.1; done'
      const { id } = await start('writer', script)
      await expect.poll(() => logOf(get().api, id)).toContain('ready')
      const expected = ['changed /bin', 'deleted /bin/vi', 'changed /etc', 'added /etc/made']
      expect(await changesOf('writer')).toEqual(expect.arrayContaining(expected))
      const running = await changesOf('writer')
      await call('POST', '/v1/containers/writer/stop?wait=exited', { timeout: 5 })
      expect(await changesOf('writer')).toEqual(running)
      await start('idle', 'true')
      expect((await changesOf('idle')).filter(change => !/^changed|added \/(etc|dev|proc|sys)/.test(change))).toEqual(
        [],
      )
    })

    test('export: the whole filesystem, changes in it', async () => {
      const { status, type, bytes } = await download('/v1/containers/writer/export')
      expect({ status, type }).toEqual({ status: 200, type: 'application/x-tar' })
      expect(tar(['-xOf', '-', 'etc/made'], bytes)).toBe('x\n')
      const names = tar(['-tf', '-'], bytes).trim().split('\n')
      expect(names).toContain('bin/busybox')
      expect(names).not.toContain('bin/vi')
    })

    test('export of many and large files arrives whole', async () => {
      const script =
        'mkdir /many; for i in $(seq 1000); do echo $i > /many/$i; done; dd if=/dev/urandom of=/large bs=1M count=30; sha256sum /large'
      const { id } = await start('large', script)
      const [digest] = (await logOf(get().api, id, '?stderr=false')).split(' ')
      const { bytes } = await download('/v1/containers/large/export')
      expect(tar(['-tf', '-'], bytes).match(/^many\/\d+$/gm)).toHaveLength(1000)
      const large = execFileSync('tar', ['-xOf', '-', 'large'], { input: bytes, maxBuffer: 64 * 1024 * 1024 })
      expect(execFileSync('sha256sum', { input: large, encoding: 'utf8' })).toContain(digest)
    })

    test('what is not there has its problem', async () => {
      expect(await codeOf(call('GET', '/v1/containers/nobody/changes'))).toBe('container.not-found')
      expect((await download('/v1/containers/nobody/export')).status).toBe(404)
    })

    test('nothing is left: the containers go as always', async () => {
      for (const name of ['writer', 'idle', 'large']) await call('DELETE', `/v1/containers/${name}?wait=removed`)
    })
  })
}
