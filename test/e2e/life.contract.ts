import { describe, expect, test } from 'vitest'
import type { ApiClient } from '#infra/local/api-client.ts'
import { buildContext } from '#infra/local/builds.ts'
import { codeOf, logOf } from '#test/support/api.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

interface Container {
  id: string
  name: string
  state: string
  desired: string
  startedAt: string
  revision: number
  exitCode?: number
  error?: { code: string }
  health?: { status: string; failingStreak: number; lastFailure?: { output: string } }
}

const trap = ['sh', '-c', 'trap "exit 7" TERM; echo set; while :; do sleep 0.05; done']
const forever = ['sleep', '1000']

/** How containers begin, go on and end, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeLife(get: () => TestSlipway): void {
  const call = <T = Container>(...args: Parameters<ApiClient['call']>) => get().api.call<T>(...args)
  const create = (body: object, wait = 'running') =>
    call('POST', `/v1/containers?wait=${wait}&timeout=60`, { image: 'busybox', command: forever, ...body })
  const order = (name: string, what: string, body: object = {}, query = '') =>
    call('POST', `/v1/containers/${name}/${what}${query}`, body)
  const remove = (...names: string[]) =>
    Promise.all(names.map(name => call('DELETE', `/v1/containers/${name}?force=true&wait=removed`)))

  /** Types of the events of one container. */
  async function eventsOf({ id }: Container, until: string): Promise<string[]> {
    const types: string[] = []
    const path = `/v1/events?since=0&subject=${id}`
    for await (const piece of get().api.text(path, { 'last-event-id': '0' })) {
      types.push(...[...piece.matchAll(/^event: ?container\.(\S+)$/gm)].map(([, type = '']) => type))
      if (types.includes(until)) break
    }
    return types
  }

  describe('the life of a container', () => {
    test('a restart ends a run and begins another, and starts what does not run', async () => {
      const first = await create({ name: 'again', command: trap, stopTimeout: 30 })
      await expect.poll(() => logOf(get().api, 'again'), { timeout: 10_000 }).toBe('set\n')
      const exit = order('again', 'wait', {}, '?condition=next-exit')
      const second = await order('again', 'restart', {}, '?wait=running')
      expect(Date.parse(second.startedAt)).toBeGreaterThan(Date.parse(first.startedAt))
      expect(await exit).toMatchObject({ exitCode: 7 })
      await order('again', 'stop', {}, '?wait=exited')
      expect(await order('again', 'restart', { timeout: 1 }, '?wait=running')).toMatchObject({ state: 'running' })
      await remove('again')
    })

    test('a name is changed, unless it is taken', async () => {
      const { id } = await create({ name: 'before' })
      await create({ name: 'taken' })
      expect(await codeOf(order('before', 'rename', { name: 'taken' }))).toBe('container.name-taken')
      expect(await order('before', 'rename', { name: 'after' })).toMatchObject({ id, name: 'after', state: 'running' })
      expect(await codeOf(call('GET', '/v1/containers/before'))).toBe('container.not-found')
      await create({ name: 'before' })
      await remove('before', 'after', 'taken')
    })

    test('one that removes itself is gone after its end, and whoever waited knows how it ended', async () => {
      const self = { autoRemove: true, command: ['sh', '-c', 'sleep 0.5; exit 3'] }
      const [one, two] = await Promise.all([create(self), create(self)])
      const ends = await Promise.all([
        order(one.id, 'wait', {}, '?timeout=60'),
        order(two.id, 'wait', {}, '?timeout=60&condition=removed'),
        create({ ...self, command: ['sh', '-c', 'exit 3'] }, 'exited'),
      ])
      expect(ends.map(({ exitCode }) => exitCode)).toEqual([3, 3, 3])
      for (const { id } of [one, two]) {
        await expect
          .poll(() => codeOf(call('GET', `/v1/containers/${id}`)), { timeout: 20_000 })
          .toBe('container.not-found')
      }
      const failed = await create({ autoRemove: true, command: ['/no/such/program'] }, 'exited')
      expect(failed).toMatchObject({ exitCode: 127, error: { code: 'container.command-not-found' } })
      expect(await codeOf(create({ autoRemove: true, restart: 'always' }))).toBe('request.invalid')
    })

    test('limits and the restart policy change while it runs; what cannot be had yet is said', async () => {
      const made = await create({ name: 'live', memory: '64m', cpus: 0.5 })
      const body = { memory: '96m', pidsLimit: 50, restart: 'unless-stopped' }
      const updated = await order('live', 'update', body, '?wait=running')
      const { startedAt, revision } = made
      expect(updated).toMatchObject({
        startedAt,
        revision,
        memory: 96 * 1024 ** 2,
        cpus: 0.5,
        restart: 'unless-stopped',
      })
      expect(await order('live', 'update', { user: 'nobody', timeout: 0 }, '?wait=running')).toMatchObject({
        revision: 1,
      })
      await remove('live')
    })

    test('an end for its memory is named', async () => {
      const command = ['sh', '-c', 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done']
      const ended = await create({ command, memory: '8m', init: true }, 'exited')
      expect(ended).toMatchObject({ exitCode: 137, oomKilled: true, error: { code: 'container.memory-exceeded' } })
      expect(await eventsOf(ended, 'die')).toEqual(expect.arrayContaining(['start', 'oom', 'die']))
      await remove(ended.id)
    })
  })

  describe('health', () => {
    test('is the image’s check or its own, waited for, told in events and in the last checks', async () => {
      const context = await uploadFiles(get().api, {
        Dockerfile: 'FROM busybox\nHEALTHCHECK --interval=1s --retries=1 CMD echo checked; [ -e /dev/shm/up ]\n',
      })
      await buildContext(get().api, { context, tags: ['checked:1'] }, () => {})
      const command = ['sh', '-c', 'echo >/dev/shm/up; sleep 3; rm /dev/shm/up; exec sleep 1000']
      const healthy = await create({ image: 'checked:1', name: 'checked', command }, 'healthy')
      expect(healthy).toMatchObject({ state: 'running', health: { status: 'healthy', failingStreak: 0 } })
      expect(await eventsOf(healthy, 'unhealthy')).toEqual(expect.arrayContaining(['healthy', 'unhealthy']))
      const log = await call<{ status: string; log: { output: string }[] }>('GET', '/v1/containers/checked/health')
      expect(log).toMatchObject({ status: 'unhealthy' })
      expect(log.log.map(({ output }) => output)).toContain('checked\n')
      const test = ['CMD', 'true']
      const own = await order(
        'checked',
        'update',
        { healthCheck: { test, interval: '200ms' }, timeout: 0 },
        '?wait=healthy',
      )
      expect(own).toMatchObject({ revision: 1, health: { status: 'healthy' } })
      expect(await codeOf(order('checked', 'update', { healthCheck: 'none', timeout: 0 }, '?wait=healthy'))).toBe(
        'container.health-check-missing',
      )
      await remove('checked')
    })

    test('is what others can wait for before they begin', async () => {
      const depends = (container: string, condition: string) => ({ dependsOn: [{ container, condition }] })
      expect(await codeOf(create(depends('nobody', 'started')))).toBe('container.not-found')
      const tcp = { tcp: { port: 9 }, interval: '200ms' }
      await create({
        name: 'db',
        command: ['sh', '-c', 'sleep 1; exec httpd -f -p 9'],
        healthCheck: tcp,
      })
      await create({ name: 'job', command: ['sh', '-c', 'exit 3'] }, 'exited')
      const app = create({ name: 'app', ...depends('db', 'healthy') })
      expect(await codeOf(create({ name: 'late', ...depends('job', 'completed') }))).toBe('container.dependency-failed')
      expect(await app).toMatchObject({ state: 'running' })
      expect(await call('GET', '/v1/containers/db')).toMatchObject({ health: { status: 'healthy' } })
      expect(await call('GET', '/v1/containers/late')).toMatchObject({ state: 'created' })
      await call('POST', '/v1/hosts', { name: 'elsewhere' })
      const there = create({ host: 'elsewhere', ...depends('db', 'started') })
      expect(await codeOf(there)).toBe('container.dependency-elsewhere')
      await call('DELETE', '/v1/hosts/elsewhere')
      await remove('app', 'late', 'job', 'db')
    })
  })
}
