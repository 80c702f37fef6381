import { createServer } from 'node:http'
import { describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import { codeOf } from '#test/support/api.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { ownAddress } from '#test/support/own-address.ts'
import { freePort, type TestSlipway } from '#test/support/slipway.ts'

/** Limits and cancels of builds. `get` gives a Slipway that has the image `busybox`. */
export function describeBuildLimits(get: () => TestSlipway): void {
  const begin = async (dockerfile: string, more: object = {}) => {
    const context = await uploadFiles(get().api, { Dockerfile: dockerfile })
    const body = { context, tags: ['limited:1'], noCache: true, ...more }
    return (await get().api.call<{ id: string }>('POST', '/v1/builds', body)).id
  }
  const look = (id: string) => get().api.call<BuildView>('GET', `/v1/builds/${id}`)
  const logOf = async (id: string) => {
    let text = ''
    for await (const piece of get().api.text(`/v1/builds/${id}/logs`)) text += piece
    return text
  }
  const isOver = async (id: string) => (await look(id)).finishedAt !== undefined
  const errorOf = async (id: string) => {
    expect(await waitUntil(() => isOver(id), 60_000)).toBe(true)
    return (await look(id)).error?.code
  }

  describe('limits of a build', () => {
    test('memory: a RUN that needs more is killed, and the build says so', async () => {
      const hungry = 'FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1\n'
      expect(await errorOf(await begin(hungry, { memory: '32m' }))).toBe('build.memory-exceeded')
      expect(await errorOf(await begin('FROM busybox\nRUN false\n', { memory: '32m' }))).toBe('build.step-failed')
    })

    test('memory: a kill that the command hides is told, and its result serves this build alone', async () => {
      const big = 'dd if=/dev/zero of=/dev/null bs=200M count=1'
      const dockerfile = `FROM busybox\nRUN ${big} & wait; true\nRUN echo after > /after\n`
      const logs = []
      for (const memory of ['32m', '32m', '512m']) {
        const id = await begin(dockerfile, { memory, noCache: false })
        expect(await errorOf(id)).toBeUndefined()
        logs.push(await logOf(id))
      }
      const killed = '1 process of this step was killed by the kernel: it may have 32 MiB of memory. Its exit code is 0'
      expect(logs.map(log => log.includes(killed))).toEqual([true, true, false])
      expect(logs.map(log => log.match(/^.*CACHED$/gm)?.length ?? 0)).toEqual([0, 1, 1]) // The step after it, by its files.
    })

    test('disk: of a layer, and of what a RUN has written so far', async () => {
      const layer = 'FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=20\n'
      expect(await errorOf(await begin(layer, { disk: '10m' }))).toBe('build.disk-exceeded')
      const unended = 'FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=20; sleep 100\n'
      expect(await errorOf(await begin(unended, { disk: '10m' }))).toBe('build.disk-exceeded')
    })

    test('time: of the whole build', async () => {
      expect(await errorOf(await begin('FROM busybox\nRUN sleep 100\n', { timeout: '2s' }))).toBe('build.timed-out')
    })

    test('what is no limit is refused', async () => {
      for (const wrong of [{ memory: '1k' }, { timeout: '5' }, { disk: 0 }, { platform: 'windows/amd64' }])
        expect(await codeOf(begin('FROM busybox\n', wrong)), JSON.stringify(wrong)).toBe('request.invalid')
    })
  })

  describe('a cancel reaches', () => {
    const RUNNING = {
      'a RUN': 'RUN echo begun; sleep 100',
      'a RUN that ignores signals': "RUN trap '' TERM INT; echo begun; while :; do sleep 1; done",
      'the packing of a layer': 'RUN dd if=/dev/urandom of=/big bs=1M count=700; echo begun',
    }
    test.each(Object.entries(RUNNING))('%s', async (_, step) => {
      const id = await begin(`FROM busybox\n${step}\n`)
      expect(await waitUntil(async () => (await logOf(id)).includes('begun\n'), 60_000)).toBe(true)
      await endsSoon(id)
    })

    const FETCHING: Record<string, (url: string) => Promise<string>> = {
      'the download of a source': async url =>
        (
          await get().api.call<{ id: string }>('POST', '/v1/builds', {
            url: { url: `${url}/a.tar` },
            tags: ['limited:1'],
          })
        ).id,
      'a clone of a source': async url =>
        (
          await get().api.call<{ id: string }>('POST', '/v1/builds', {
            git: { url: `${url}/a.git` },
            tags: ['limited:1'],
          })
        ).id,
      'an ADD': url => begin(`FROM busybox\nADD ${url}/a.txt /\n`),
      'an ADD of a repository': url => begin(`FROM busybox\nADD ${url}/a.git /a\n`),
    }
    test.each(Object.entries(FETCHING))('%s', async (_, fetchFrom) => {
      const server = createServer((_, response) => void response.writeHead(200, { 'content-length': 1000 }).write('x'))
      const asked = new Promise(resolve => server.once('request', resolve))
      const port = await freePort('0.0.0.0')
      await new Promise<void>(listening => server.listen(port, '0.0.0.0', listening))
      try {
        const id = await fetchFrom(`http://${ownAddress()}:${port}`)
        await asked
        await endsSoon(id)
      } finally {
        server.closeAllConnections()
        server.close()
      }
    })

    test('the upload of a layer, which leaves no tag', async () => {
      const id = await begin('FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=250\n', {
        tags: ['limited:never'],
      })
      expect(await waitUntil(async () => (await logOf(id)).includes('exporting the image\n'), 60_000)).toBe(true)
      await endsSoon(id)
      expect(await codeOf(get().api.call('GET', '/v1/images/limited:never'))).toBe('image.not-found')
    })

    /** The machine that tests run on may be busy: what is promised is a second. */
    const endsSoon = async (id: string) => {
      const from = performance.now()
      await get().api.call('POST', `/v1/builds/${id}/cancel?wait=finished`, {})
      expect(await look(id)).toMatchObject({ state: 'canceled' })
      console.log(`canceled after ${Math.round(performance.now() - from)} ms`)
    }
  })
}
