import { createParser } from 'eventsource-parser'
import { describe, expect, test } from 'vitest'
import type { ApiClient } from '#infra/local/api-client.ts'
import { buildContext } from '#infra/local/builds.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { StorageFacts } from '#shared/domain/host.ts'
import { codeOf, logOf } from '#test/support/api.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

interface Container {
  id: string
  name: string
  state: string
  exitCode?: number
  address: string
}

const SHELL = ['sh', '-c']

/** Runs a shell script to its end and returns what it printed and its exit code; the container is removed. */
export async function runScript(api: ApiClient, script: string, extra: object = {}) {
  const body = { image: 'busybox', command: [...SHELL, script], ...extra }
  const { id } = await api.call<Container>('POST', '/v1/containers?wait=exited&timeout=60', body)
  const { exitCode } = await api.call<Container>('GET', `/v1/containers/${id}`)
  const output = await logOf(api, id)
  await api.call('DELETE', `/v1/containers/${id}?wait=removed`)
  return { exitCode, output }
}

/** What the API promises, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeApi(get: () => TestSlipway): void {
  const call = <T>(...args: Parameters<ApiClient['call']>) => get().api.call<T>(...args)

  describe('a container', () => {
    test('lives: start, pause, unpause, stop, start, kill, remove', async () => {
      const script = 'trap "exit 7" TERM; while :; do sleep 0.1; done'
      const made = await call<Container>('POST', '/v1/containers?wait=running', {
        ...{ image: 'busybox', name: 'life', command: [...SHELL, script] },
      })
      expect(made.state).toBe('running')
      expect((await call<Container>('POST', '/v1/containers/life/pause?wait=paused', {})).state).toBe('paused')
      expect((await call<Container>('POST', '/v1/containers/life/unpause?wait=running', {})).state).toBe('running')
      const stopped = await call<Container>('POST', '/v1/containers/life/stop?wait=exited', { timeout: 5 })
      expect(stopped).toMatchObject({ state: 'exited', exitCode: 7 })
      expect(await codeOf(call('POST', '/v1/containers/life/kill', {}))).toBe('container.not-running')
      expect((await call<Container>('POST', '/v1/containers/life/start?wait=running', {})).state).toBe('running')
      expect(await codeOf(call('DELETE', '/v1/containers/life'))).toBe('container.running')
      expect(await call('POST', '/v1/containers/life/kill?wait=exited', {})).toMatchObject({ exitCode: 137 })
      expect(await call('POST', '/v1/containers/life/wait', {})).toMatchObject({ exitCode: 137 })
      await call('DELETE', '/v1/containers/life?wait=removed')
      expect(await codeOf(call('GET', '/v1/containers/life'))).toBe('container.not-found')
    })

    test('keeps stdout and stderr apart, and its log can be cut by tail, since and time', async () => {
      const script = 'echo one; echo two >&2; sleep 0.2; echo three'
      const { id } = await call<Container>('POST', '/v1/containers?wait=exited', {
        ...{ image: 'busybox', command: [...SHELL, script] },
      })
      const { api } = get()
      expect(await logOf(api, id, '?stderr=false')).toBe('one\nthree\n')
      expect(await logOf(api, id, '?stdout=false')).toBe('two\n')
      expect(await logOf(api, id, '?tail=1')).toBe('three\n')
      const stamped = (await logOf(api, id, '?timestamps=true&tail=1')).split(' ')
      expect(Date.parse(stamped[0] ?? '')).toBeGreaterThan(0)
      expect(await logOf(api, id, `?since=${encodeURIComponent(stamped[0] ?? '')}`)).toBe('three\n')
      expect(await logOf(api, id, '?follow=true')).toContain('three') // It has ended, so that following it ends too.
      await call('DELETE', `/v1/containers/${id}`)
    })

    test('is restarted by its policy, and no more often than that says', async () => {
      const { id } = await call<Container>('POST', '/v1/containers?wait=exited&timeout=60', {
        ...{ image: 'busybox', command: [...SHELL, 'echo run; exit 3'], restart: 'on-failure:2' },
      })
      expect(await call('GET', `/v1/containers/${id}`)).toMatchObject({ state: 'exited', exitCode: 3, restarts: 2 })
      expect(await logOf(get().api, id)).toBe('run\nrun\nrun\n')
      await call('DELETE', `/v1/containers/${id}`)
    })

    test('gets what it was asked for: env, workdir, user, hostname, labels', async () => {
      const { output } = await runScript(get().api, 'echo "$A $PWD $(id -u):$(id -g) $(hostname)"', {
        ...{ env: { A: 'b' }, workdir: '/var', user: '12:34', hostname: 'own', labels: { team: 'x' } },
      })
      expect(output).toBe('b /var 12:34 own\n')
    })

    test('that never ran has an empty log', async () => {
      const { id } = await call<Container>('POST', '/v1/containers?wait=created', { image: 'busybox', start: false })
      expect(await logOf(get().api, id)).toBe('')
      await call('DELETE', `/v1/containers/${id}?wait=removed`)
    })

    test('that takes its time to stop gets signals, can be hurried and be killed, and is started after it', async () => {
      const script = 'trap "echo usr1" USR1; trap "echo term" TERM; while :; do sleep 0.1; done'
      const { id } = await call<Container>('POST', '/v1/containers?wait=running', {
        ...{ image: 'busybox', command: [...SHELL, script] },
      })
      const order = (what: string, body: object) => call<Container>('POST', `/v1/containers/${id}/${what}`, body)
      const hasSaid = (word: string) => waitUntil(async () => (await logOf(get().api, id)).includes(word), 10_000)
      await order('stop', { timeout: 600 })
      expect(await hasSaid('term')).toBe(true)
      await order('kill', { signal: 'SIGUSR1' })
      expect(await hasSaid('usr1')).toBe(true)
      expect(await order('kill?wait=exited', {})).toMatchObject({ state: 'exited', exitCode: 137 })
      await order('start?wait=running', {})
      await order('stop', { timeout: 600 })
      await order('stop?wait=exited', { timeout: 0.2 })
      await order('start?wait=running', {})
      await order('stop', { timeout: 1 })
      const before = Date.now()
      expect(await order('start?wait=running', {})).toMatchObject({ state: 'running' })
      expect(Date.now() - before).toBeGreaterThan(500) // It had its second.
      await call('DELETE', `/v1/containers/${id}?force=true&wait=removed`)
    })

    test('a wait has a deadline', async () => {
      const { id } = await call<Container>('POST', '/v1/containers?wait=running', {
        ...{ image: 'busybox', command: ['sleep', '100'] },
      })
      expect(await codeOf(call('POST', `/v1/containers/${id}/wait?timeout=0.3`, {}))).toBe('request.timeout')
      await call('DELETE', `/v1/containers/${id}?force=true&wait=removed`)
    })
  })

  describe('requests', () => {
    test('a repeated key gets the first answer, another body is refused', async () => {
      const headers = { 'idempotency-key': crypto.randomUUID() }
      const body = { image: 'busybox', command: ['true'], start: false }
      const first = await call<Container>('POST', '/v1/containers', body, headers)
      expect((await call<Container>('POST', '/v1/containers', body, headers)).id).toBe(first.id)
      expect(await codeOf(call('POST', '/v1/containers', { ...body, name: 'other' }, headers))).toBe(
        'idempotency.key-reused',
      )
      await call('DELETE', `/v1/containers/${first.id}?wait=removed`)
    })

    test('what is not understood is refused with its field, and nothing is made', async () => {
      const { items: before } = await call<{ items: Container[] }>('GET', '/v1/containers?limit=1000')
      for (const wrong of [
        { memoryLimit: '64m' },
        { memory: '99999999g' },
        { memory: '1k' },
        { user: '4294967295' },
        { user: '33:4294967295' },
        { command: ['a\0b'] },
        { env: { A: 'b\0c' } },
        { ports: ['80'] },
        { restart: 'sometimes' },
      ]) {
        const attempt = call('POST', '/v1/containers', { image: 'busybox', ...wrong })
        expect(await codeOf(attempt), JSON.stringify(wrong)).toBe('request.invalid')
      }
      for (const path of ['?limit=', '?limit=0', '?limit=5000', '?colour=red']) {
        expect(await codeOf(call('GET', `/v1/containers${path}`)), path).toBe('request.invalid')
      }
      const { items: after } = await call<{ items: Container[] }>('GET', '/v1/containers?limit=1000')
      expect(after.length).toBe(before.length)
    })

    test('a known path says which methods it takes', async () => {
      expect(await codeOf(call('PATCH', '/v1/containers', {}))).toBe('request.method-not-allowed')
      expect(await codeOf(call('GET', '/v1/nothing'))).toBe('request.not-found')
    })

    test('an optional body may be left out, whatever its announced type', async () => {
      const made = await fetch(`${get().api.url}/v1/contexts`, {
        method: 'POST',
        headers: { authorization: `Bearer ${get().operatorToken}`, 'content-type': 'application/json' },
      })
      expect(made.status).toBe(201)
    })

    test('signals by name and number; what is none is refused', async () => {
      const script = 'trap "exit 3" HUP; while :; do sleep 0.1; done'
      const { id } = await call<Container>('POST', '/v1/containers?wait=running', {
        ...{ image: 'busybox', command: [...SHELL, script] },
      })
      expect(await codeOf(call('POST', `/v1/containers/${id}/kill`, { signal: 'BOGUS' }))).toBe('request.invalid')
      await call('POST', `/v1/containers/${id}/kill`, { signal: 1 })
      expect(await call('POST', `/v1/containers/${id}/wait`, {})).toMatchObject({ exitCode: 3 })
      await call('DELETE', `/v1/containers/${id}?wait=removed`)
    })

    test('a name that is the id of another container never stands for it', async () => {
      const make = (name?: string) =>
        call<Container>('POST', '/v1/containers', { image: 'busybox', start: false, name })
      const first = await make()
      const second = await make(first.id)
      expect((await call<Container>('GET', `/v1/containers/${first.id}`)).name).toBe(first.name)
      await call('DELETE', `/v1/containers/${first.id}?wait=removed&timeout=20`)
      await call('DELETE', `/v1/containers/${second.id}?wait=removed&timeout=20`)
    })

    test('a host says which storage driver it uses, and why it uses no other', async () => {
      type Seen = { id: string; facts?: { storage?: StorageFacts } }
      const [listed] = (await call<{ items: Seen[] }>('GET', '/v1/hosts')).items
      const { facts } = await call<Seen>('GET', `/v1/hosts/${listed?.id}`)
      const { driver, drivers = [] } = facts?.storage ?? {}
      expect(drivers.map(({ name }) => name)).toContain('vfs')
      expect(drivers.find(({ name }) => name === driver)).toEqual({ name: driver, usable: true })
      for (const { usable, reason } of drivers) expect(usable).toBe(reason === undefined)
    })

    test('a host that holds containers is not removed', async () => {
      const { id, host } = await call<Container & { host: { id: string } }>('POST', '/v1/containers', {
        ...{ image: 'busybox', start: false },
      })
      expect(await codeOf(call('DELETE', `/v1/hosts/${host.id}`))).toBe('host.in-use')
      expect(await codeOf(call('DELETE', `/v1/hosts/${host.id}?force=true`))).toBe('host.in-use') // It is ready.
      await call('DELETE', `/v1/containers/${id}?wait=removed`)
    })

    test('secrets are kept and named, and never told again', async () => {
      const value = `hush ${Date.now()}`
      const [set, again] = [
        await call<{ createdAt: string }>('PUT', '/v1/secrets/git-token', { value }),
        await call<{ createdAt: string }>('PUT', '/v1/secrets/git-token', { value: `${value}!` }),
      ]
      expect(again).toMatchObject({ name: 'git-token', createdAt: set.createdAt })
      const { items } = await call<{ items: object[] }>('GET', '/v1/secrets')
      expect(items).toContainEqual(again)
      expect(JSON.stringify([set, again, items])).not.toContain('hush')
      expect(await codeOf(call('PUT', '/v1/secrets/no%20name', { value }))).toBe('request.invalid')
      await call('DELETE', '/v1/secrets/git-token')
      expect(await codeOf(call('DELETE', '/v1/secrets/git-token'))).toBe('secret.not-found')
    })

    test('tokens: made once a key, shown once, revoked at once', async () => {
      const headers = { 'idempotency-key': crypto.randomUUID() }
      const { id, token } = await call<{ id: string; token: string }>('POST', '/v1/tokens', { name: 'ci' }, headers)
      expect(await codeOf(call('POST', '/v1/tokens', { name: 'ci' }, headers))).toBe('idempotency.secret-shown-once')
      const ask = () => fetch(`${get().api.url}/v1/hosts`, { headers: { authorization: `Bearer ${token}` } })
      expect((await ask()).status).toBe(200)
      await call('DELETE', `/v1/tokens/${id}`)
      expect((await ask()).status).toBe(401)
    })

    test('lists come in pages', async () => {
      const made = await Promise.all(
        [1, 2, 3].map(() => call<Container>('POST', '/v1/containers', { image: 'busybox', start: false })),
      )
      const seen: string[] = []
      let cursor: string | undefined
      do {
        const query: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''
        const page = await call<{ items: Container[]; nextCursor?: string }>('GET', `/v1/containers?limit=2${query}`)
        expect(page.items.length).toBeLessThanOrEqual(2)
        seen.push(...page.items.map(({ id }) => id))
        cursor = page.nextCursor
      } while (cursor)
      for (const { id } of made) expect(seen.filter(found => found === id)).toEqual([id])
      expect(await codeOf(call('GET', '/v1/containers?cursor=nonsense'))).toBe('cursor.invalid')
      for (const { id } of made) await call('DELETE', `/v1/containers/${id}?wait=removed`)
    })

    test('events are resumed after the last one that was read', async () => {
      await runScript(get().api, 'true')
      const read = async (lastEventId: string, count: number) => {
        const events: { id: string; type: string }[] = []
        const over = new AbortController()
        const response = await fetch(`${get().api.url}/v1/events`, {
          headers: { authorization: `Bearer ${get().operatorToken}`, 'last-event-id': lastEventId },
          signal: AbortSignal.any([over.signal, AbortSignal.timeout(20_000)]),
        })
        const parser = createParser({ onEvent: ({ id = '', event = '' }) => events.push({ id, type: event }) })
        for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
          parser.feed(piece)
          if (events.length >= count) break
        }
        over.abort()
        return events.slice(0, count)
      }
      const four = await read('0', 4)
      expect(four).toHaveLength(4)
      expect(await read(four[1]?.id ?? '', 2)).toEqual(four.slice(2))
    })

    test('every route is described, and the document is OpenAPI 3.1', async () => {
      const document = await call<{ openapi: string; paths: Record<string, object> }>('GET', '/openapi.json')
      expect(document.openapi).toMatch(/^3\.1/)
      for (const path of ['/v1/contexts', '/v1/builds', '/v1/images', '/v1/containers', '/v1/hosts', '/v1/events']) {
        expect(Object.keys(document.paths)).toContain(path)
      }
    })
  })

  describe('images', () => {
    const dockerfile = `ARG BASE=busybox
FROM \${BASE} AS made
ARG GREETING=hello
ENV WHO="the world" KEPT=1
WORKDIR /work
COPY --chown=5:6 --chmod=640 data/ ./data/
ADD archive.txt /tmp/
RUN echo "$GREETING, $WHO" > greeting && rm -rf data/gone && ln -s greeting link
RUN ["touch", "/exec form"]
SHELL ["/bin/sh", "-ec"]
FROM made AS unused
RUN exit 1
FROM made
LABEL one="1" two=2
EXPOSE 80 90-91/udp
VOLUME /data
STOPSIGNAL SIGINT
USER 5
ENTRYPOINT ["cat"]
CMD ["greeting"]
`
    test('a Dockerfile with most of what there is', async () => {
      const context = await uploadFiles(get().api, {
        Dockerfile: dockerfile,
        'data/kept': 'kept',
        'data/gone/file': 'gone',
        'data/secret': 'ignored',
        'archive.txt': 'no archive',
        '.dockerignore': '**/secret\n',
      })
      const request = { context, tags: ['most:1', 'most:latest'], args: { GREETING: 'hi' } }
      let log = ''
      await buildContext(get().api, request, text => (log += text))
      expect(log).not.toContain('exit 1')
      const image = await call<{ config: Record<string, unknown>; layers: { size: number }[] }>(
        'GET',
        '/v1/images/most:1',
      )
      expect(image.config).toMatchObject({
        ...{ User: '5', Entrypoint: ['cat'], Cmd: ['greeting'], WorkingDir: '/work', StopSignal: 'SIGINT' },
        ...{ Labels: { one: '1', two: '2' }, Volumes: { '/data': {} } },
        ExposedPorts: { '80/tcp': {}, '90/udp': {}, '91/udp': {} },
      })
      expect(image.layers.length).toBe(6)
      const { output } = await runScript(get().api, '', { image: 'most:1', command: ['link'] })
      expect(output).toBe('hi, the world\n')
      const listing = { image: 'most:1', user: '0', entrypoint: SHELL, command: ['stat -c "%n %u:%g %a" data/* data'] }
      const { output: tree } = await runScript(get().api, '', listing)
      expect(tree).toBe('data/kept 5:6 640\ndata 5:6 755\n')
    })

    test('history names every instruction; a tag is another name', async () => {
      const { items } = await call<{ items: { createdBy: string }[] }>('GET', '/v1/images/most:1/history')
      expect(items[0]?.createdBy).toBe('CMD ["greeting"]')
      await call('POST', '/v1/images/most:1/tag', { tag: 'renamed:2' })
      expect(await call('GET', '/v1/images/renamed:2')).toMatchObject({ layers: expect.any(Array) })
      await call('DELETE', '/v1/images/renamed:2')
      expect(await codeOf(call('GET', '/v1/images/renamed:2'))).toBe('image.not-found')
    })

    test('a build can be canceled', async () => {
      const context = await uploadFiles(get().api, { Dockerfile: 'FROM busybox\nRUN echo begun; sleep 100\n' })
      const { id } = await call<{ id: string }>('POST', '/v1/builds', { context, tags: ['never:1'] })
      const log = async () => {
        let text = ''
        for await (const piece of get().api.text(`/v1/builds/${id}/logs`)) text += piece
        return text
      }
      expect(await waitUntil(async () => (await log()).includes('begun'), 20_000)).toBe(true)
      await call('POST', `/v1/builds/${id}/cancel?wait=finished`, {})
      expect(await call('GET', `/v1/builds/${id}`)).toMatchObject({ state: 'canceled' })
    })
  })
}
