import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type ApiClient, uploadContext } from '#infra/local/api-client.ts'
import { codeOf, logOf } from '#test/support/api.ts'
import type { TestSlipway } from '#test/support/slipway.ts'
import { runScript } from './api.contract.ts'

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
      expect(await changesOf('idle')).toEqual([])
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

    test('commit: what a container changed becomes an image, with what it was started with', async () => {
      const script = 'echo kept > /kept; rm /bin/vi; echo ready; trap "exit 0" TERM; while :; do sleep 0.1; done'
      const extra = { env: { GIVEN: '1' }, labels: { from: 'run' } }
      const made = await call<{ id: string }>('POST', '/v1/containers?wait=running', {
        ...{ image: 'busybox', name: 'source', command: ['sh', '-c', script], ...extra },
      })
      await expect.poll(() => logOf(get().api, made.id)).toContain('ready')
      const asked = {
        tags: ['committed:1'],
        changes: ['CMD ["cat", "/kept"]', 'ENV MORE=2'],
        message: 'why',
        author: 'Ada',
      }
      const build = await call<{ state: string; kind: string }>(
        'POST',
        '/v1/containers/source/commit?wait=finished&timeout=60',
        asked,
      )
      expect(build).toMatchObject({ state: 'succeeded', kind: 'container' })
      expect(await call('GET', '/v1/containers/source')).toMatchObject({ state: 'running' })
      const image = await call<{ config: { Env: string[] } }>('GET', '/v1/images/committed:1')
      expect(image.config).toMatchObject({ Cmd: ['cat', '/kept'], Labels: { from: 'run' } })
      expect(image.config.Env).toEqual(expect.arrayContaining(['GIVEN=1', 'MORE=2']))
      const { items } = await call<{ items: object[] }>('GET', '/v1/images/committed:1/history')
      expect(items[0]).toMatchObject({ comment: 'why', createdBy: `sh -c ${script}` })
      expect(await runScript(get().api, '', { image: 'committed:1', command: undefined })).toEqual({
        exitCode: 0,
        output: 'kept\n',
      })
      const { output } = await runScript(get().api, 'ls /bin/vi 2>&1', { image: 'committed:1' })
      expect(output).toContain('No such file')
    })

    test('commit: of one that has ended; an instruction that changes files is refused with its place', async () => {
      await call('POST', '/v1/containers/source/stop?wait=exited', { timeout: 5 })
      const commit = (body: object) =>
        call<{ state: string; error?: { code: string; message: string } }>(
          'POST',
          '/v1/containers/source/commit?wait=finished',
          body,
        )
      expect(await commit({ tags: ['committed:2'], changes: ['CMD cat /kept'] })).toMatchObject({ state: 'succeeded' })
      const refused = await commit({ tags: ['committed:3'], changes: ['USER 5', 'EXPOSE seven'] })
      expect(refused).toMatchObject({ state: 'failed', error: { code: 'build.dockerfile-invalid' } })
      expect(refused.error?.message).toContain('changes:2:8')
      expect(await codeOf(call('GET', '/v1/images/committed:3'))).toBe('image.not-found')
      const early = call('POST', '/v1/containers/source/commit', { tags: ['committed:3'], changes: ['RUN true'] })
      expect(await codeOf(early)).toBe('request.invalid')
      expect(await codeOf(call('POST', '/v1/containers/nobody/commit', { tags: ['a:1'] }))).toBe('container.not-found')
    })

    test('import: what was exported is an image again', async () => {
      const folder = mkdtempSync('/var/tmp/slipway-import-')
      try {
        const path = join(folder, 'rootfs.tar')
        writeFileSync(path, (await download('/v1/containers/source/export')).bytes)
        for (const [compressed, program] of [
          [path, undefined],
          [`${path}.gz`, 'gzip'],
          [`${path}.zst`, 'zstd'],
        ] as const) {
          if (program) execFileSync(program, ['-kq', path])
          const context = await uploadContext(get().api, compressed)
          const asked = { context, tags: ['imported:1'], changes: ['CMD ["cat", "/kept"]'], message: 'from a tar' }
          const build = await call<object>('POST', '/v1/images/import?wait=finished&timeout=60', asked)
          expect(build, program).toMatchObject({ state: 'succeeded', kind: 'tar' })
          const image = await call<{ layers: object[] }>('GET', '/v1/images/imported:1')
          expect(image.layers).toHaveLength(1)
          const ran = await runScript(get().api, '', { image: 'imported:1', command: undefined })
          expect(ran).toEqual({ exitCode: 0, output: 'kept\n' })
        }
        for (const [bytes, code] of [
          ['no tar at all', 'layer.invalid'],
          ['', 'context.invalid'],
        ] as const) {
          writeFileSync(path, bytes)
          const context = await uploadContext(get().api, path)
          const failed = await call('POST', '/v1/images/import?wait=finished', { context, tags: ['imported:2'] })
          expect(failed).toMatchObject({ state: 'failed', error: { code } })
        }
      } finally {
        rmSync(folder, { recursive: true })
      }
    })

    test('sizes: what a container wrote, and what takes room on its host', async () => {
      const sizeOf = async () => {
        const { size } = await call<{ size?: { writableBytes: number; virtualBytes: number } }>(
          'GET',
          '/v1/containers/large',
        )
        return size ?? { writableBytes: 0, virtualBytes: 0 }
      }
      await expect.poll(async () => (await sizeOf()).writableBytes, { timeout: 20_000 }).toBeGreaterThan(30_000_000)
      const { writableBytes, virtualBytes } = await sizeOf()
      expect(virtualBytes).toBeGreaterThan(writableBytes)
      const diskNow = async () =>
        (await call<{ items: { disk: Record<string, object> }[] }>('GET', '/v1/hosts')).items[0]?.disk
      // A measurement may have met a container that was just being removed.
      const expected = { containers: { count: 4, activeCount: 0 }, images: { activeCount: 1 } }
      await expect.poll(diskNow, { timeout: 20_000 }).toMatchObject(expected)
    })

    test('what is not there has its problem', async () => {
      expect(await codeOf(call('GET', '/v1/containers/nobody/changes'))).toBe('container.not-found')
      expect((await download('/v1/containers/nobody/export')).status).toBe(404)
    })

    test('nothing is left: the containers go as always', async () => {
      for (const name of ['writer', 'idle', 'large', 'source'])
        await call('DELETE', `/v1/containers/${name}?wait=removed`)
    })
  })
}
