import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { HealthCheck, HealthProbe } from '#shared/domain/health.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { processesOf } from '#test/support/processes.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { removeContainer } from '../execute/remove-container.ts'
import { runContainer } from '../execute/run-container.ts'
import { observeContainer } from '../observe/container-facts.ts'
import { readHealth } from '../observe/health-file.ts'
import { createHealthKeeper } from './health-keeper.ts'

/** Health checks on the real kernel: by programs in the container, and by its network. */

let host: TestHost
beforeAll(async () => {
  host = await openTestHost('thealth', 15)
})
afterAll(() => host?.[Symbol.asyncDispose]())

type Check = Omit<Extract<HealthCheck, { kind: 'check' }>, 'kind' | 'probe'>
const FAST: Check = { intervalMs: 100, timeoutMs: 5000, retries: 2 }

async function started(
  command: string[],
  probe: HealthProbe,
  check: Check = FAST,
  change: Partial<DesiredContainer['spec']> = {},
) {
  const plain = host.want(command)
  const want: DesiredContainer = {
    ...plain,
    spec: { ...plain.spec, ...change, healthCheck: { kind: 'check', probe, ...check } },
  }
  await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
  return want
}

/** An agent's part: follows until it is disposed of. */
function agent() {
  const over = new AbortController()
  const changed: string[] = []
  const log = pino({ level: 'silent' })
  const keeper = createHealthKeeper({
    ports: host.ports,
    log,
    onChange: id => void changed.push(id),
    signal: over.signal,
  })
  const follow = async (want: DesiredContainer) =>
    keeper.follow(want.id, await observeContainer(host.ports, want, false), true)
  const remove = async ({ id }: DesiredContainer) => {
    keeper.forget(id)
    await removeContainer(host.ports, id)
  }
  return { keeper, follow, changed, remove, [Symbol.dispose]: () => over.abort() }
}

const stateOf = ({ id }: DesiredContainer) => readHealth(join(host.ports.containersFolder, id))
const becomes = (want: DesiredContainer, status: string) =>
  waitUntil(async () => (await stateOf(want))?.status === status, 15_000)

test('a program that has the environment, the user and the folder of the container says how it is', async () => {
  const line = 'echo "$MODE $(id -g) $PWD"; [ -e /dev/shm/up ]'
  const spec = { env: ['MODE=test'], user: '0:7', workdir: '/tmp' }
  const script = 'sleep 1; echo >/dev/shm/up; sleep 1; rm /dev/shm/up; exec sleep 1000'
  const want = await started(['sh', '-c', script], { kind: 'shell', line }, FAST, spec)
  using one = agent()
  await one.follow(want)
  expect(await becomes(want, 'unhealthy')).toBe(true)
  expect(await becomes(want, 'healthy')).toBe(true)
  expect(await becomes(want, 'unhealthy')).toBe(true)
  const state = await stateOf(want)
  expect(state?.lastFailure).toMatchObject({ exitCode: 1, output: 'test 7 /tmp\n' })
  expect(state?.log.length).toBeLessThanOrEqual(5)
  expect(one.changed).toContain(want.id)
  await one.remove(want)
})

test('at the end of its time a check is killed with all that it began, whatever that did to get away', async () => {
  const mark = '7446201'
  const line = `(sleep ${mark} &) ; setsid sleep ${mark} & env -i sleep ${mark} & echo begun; wait; sleep ${mark}`
  const want = await started(['sleep', '1000'], { kind: 'shell', line }, { ...FAST, timeoutMs: 1000, intervalMs: 600 })
  using one = agent()
  await one.follow(want)
  expect(await waitUntil(async () => processesOf(mark).length >= 3, 5000)).toBe(true)
  expect(await becomes(want, 'unhealthy')).toBe(true)
  one.keeper.forget(want.id)
  expect(await waitUntil(async () => processesOf(mark).length === 0, 5000)).toBe(true)
  const failure = (await stateOf(want))?.lastFailure
  expect(failure).toMatchObject({ exitCode: -1, output: expect.stringContaining('begun') })
  expect((await host.ports.runtime.inspect(want.id)).state).toBe('running')
  await one.remove(want)
})

test('what a check says is bounded, and one that leaves something behind is not waited for', async () => {
  const line = 'sleep 1000 & while :; do echo 0123456789; done | head -c 100000'
  const want = await started(['sleep', '1000'], { kind: 'shell', line })
  using one = agent()
  await one.follow(want)
  expect(await becomes(want, 'healthy')).toBe(true)
  expect((await stateOf(want))?.log[0]?.output).toHaveLength(4096)
  await one.remove(want)
})

const SERVER = 'mkdir /www; echo fine >/www/ok; exec /bin/busybox httpd -f -p 127.0.0.1:8080 -h /www'
const http = (path: string, port = 8080): HealthProbe => ({ kind: 'http', port, path, headers: { Host: 'x.example' } })

test('HTTP and TCP go to the loopback of the container, which nobody else reaches', async () => {
  using one = agent()
  const cases: [HealthProbe, string, string][] = [
    [http('/ok'), 'healthy', '200 OK\nfine\n'],
    [http('/missing'), 'unhealthy', '404 Not Found'],
    [http('/ok', 8081), 'unhealthy', 'ECONNREFUSED'],
    [{ kind: 'tcp', port: 8080 }, 'healthy', ''],
    [{ kind: 'tcp', port: 8081 }, 'unhealthy', 'ECONNREFUSED'],
  ]
  await Promise.all(
    cases.map(async ([probe, status, output]) => {
      const want = await started(['sh', '-c', SERVER], probe, { ...FAST, startPeriodMs: 1500, startIntervalMs: 300 })
      await one.follow(want)
      expect(await becomes(want, status)).toBe(true)
      expect((await stateOf(want))?.log.at(-1)?.output).toContain(output)
      await one.remove(want)
    }),
  )
})

test('an answer that does not come is no health', async () => {
  const listen = 'while :; do /bin/busybox nc -l -p 8080 127.0.0.1 >/dev/null </dev/zero & wait; done'
  const want = await started(['sh', '-c', `${listen}`], http('/'), { ...FAST, timeoutMs: 500 })
  using one = agent()
  await one.follow(want)
  expect(await becomes(want, 'unhealthy')).toBe(true)
  await one.remove(want)
})

test('another agent goes on: with the same due time, and without a check that was left under way', async () => {
  const mark = '7446202'
  const want = await started(
    ['sleep', '1000'],
    { kind: 'shell', line: `sleep ${mark}` },
    { ...FAST, intervalMs: 300, timeoutMs: 600_000 },
  )
  const dead = agent()
  await dead.follow(want)
  expect(await waitUntil(async () => processesOf(mark).length > 0, 5000)).toBe(true)
  const [left] = processesOf(mark)
  // As if it had been killed: nobody ends its check.
  using next = agent()
  await next.follow(want)
  expect(await waitUntil(async () => left !== undefined && !processesOf(mark).includes(left), 5000)).toBe(true)
  dead[Symbol.dispose]()
  await next.remove(want)

  const slow = await started(['sleep', '1000'], { kind: 'command', args: ['true'] }, { ...FAST, intervalMs: 2000 })
  using first = agent()
  await first.follow(slow)
  expect(await becomes(slow, 'healthy')).toBe(true)
  const before = await stateOf(slow)
  first[Symbol.dispose]()
  using second = agent()
  await second.follow(slow)
  expect(await waitUntil(async () => (await stateOf(slow))?.log.length === 2, 10_000)).toBe(true)
  expect((await stateOf(slow))?.log[1]?.startedAt).toBeGreaterThanOrEqual(before?.nextAt ?? Infinity)
  await second.remove(slow)
})

test('no more than eight checks are under way, however many are due', async () => {
  const mark = '7446203'
  const probe: HealthProbe = { kind: 'shell', line: `sleep ${mark}` }
  const wants = await Promise.all(
    Array.from({ length: 12 }, () =>
      started(['sleep', '1000'], probe, { ...FAST, intervalMs: 50, timeoutMs: 600_000 }),
    ),
  )
  using one = agent()
  for (const want of wants) await one.follow(want)
  const checks = () => new Set(processesOf(mark)).size
  expect(await waitUntil(async () => checks() >= 8, 20_000)).toBe(true)
  await systemClock.sleep(1000)
  const seen = checks() // The shell may be its last command, or its parent.
  expect(seen === 8 || seen === 16).toBe(true)
  for (const { id } of wants) one.keeper.forget(id)
  for (const { id } of wants) await removeContainer(host.ports, id)
})
