import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer, ObservedContainer, ObservedState } from '#shared/domain/container.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import type { DesiredState } from '#shared/protocol/agent.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { createImageFetches } from '../execute/image-fetches.ts'
import { readRecord } from '../observe/container-record.ts'
import { createHealthKeeper } from './health-keeper.ts'
import { createReconciler, type Reconciler } from './reconciler.ts'

let host: TestHost
const over = new AbortController()
beforeAll(async () => {
  host = await openTestHost('trecon', 3)
})
afterAll(async () => {
  over.abort()
  await host?.[Symbol.asyncDispose]()
})

/** The loop over real ports, with what it should make and what it says in plain sight. */
function loop(ports = host.ports) {
  const wanted = new Map<string, DesiredContainer>()
  const said = new Map<string, ObservedState>()
  const state: DesiredState = {
    ...{ hostId: 'aaaaaaaaaaaaaaaa' as HostId, generation: 1, isFull: true, containers: [], builds: [] },
    network: { subnet: '10.91.3.0/24', gateway: '10.91.3.1', prefixLength: 24 },
  }
  const log = pino({ level: 'silent' })
  const { signal } = over
  const health = createHealthKeeper({ ports, log, onChange: id => reconciler.look(id), signal })
  const reconciler: Reconciler = createReconciler({
    ...{ ports, log, health },
    desired: { state: () => state, container: id => wanted.get(id) },
    reporter: { container: ({ id, status }: ObservedContainer) => void said.set(id, status) },
    ...{ builds: { owns: () => false, holds: () => false }, random: () => 0.5 },
  })
  const set = (want: DesiredContainer) => {
    wanted.set(want.id, want)
    reconciler.look(want.id)
  }
  const says = (id: string, what: string) => waitUntil(async () => said.get(id)?.state === what, 10_000)
  return { reconciler, set, says, said }
}

test('images that take their time hold up no stop and no removal, not even of the containers that wait for them', async () => {
  const pulls: PromiseWithResolvers<never>[] = []
  const pull = () => {
    const one = Promise.withResolvers<never>()
    pulls.push(one)
    return one.promise
  }
  const fetches = createImageFetches({ ...host.ports.images, pull }, systemClock, () => {})
  const { reconciler, set, says, said } = loop({ ...host.ports, fetches })
  using _ = fetches.watchEnds(reconciler.look)
  const alive = host.want(['sleep', '1000'])
  set(alive)
  expect(await says(alive.id, 'running')).toBe(true)
  const digest = `sha256:${'1'.repeat(64)}` as DesiredContainer['spec']['imageDigest']
  const waiting = Array.from({ length: 12 }, () => host.want(['true'])).map(want => ({
    ...want,
    spec: { ...want.spec, imageDigest: digest },
  }))
  waiting.forEach(set)
  for (const { id } of waiting) expect(await says(id, 'created')).toBe(true)
  expect(pulls.length).toBe(12)

  set({ ...alive, goal: { kind: 'stopped', run: 1, signal: 'SIGKILL', timeoutMs: 0 } })
  expect(await says(alive.id, 'exited')).toBe(true)
  const [first, second] = waiting
  if (!first || !second) throw new Error('there are twelve')
  set({ ...first, goal: { kind: 'removed', isForced: true } })
  expect(await says(first.id, 'absent')).toBe(true)

  for (const one of pulls) one.reject(new SlipwayError('host.unreachable', 'no answer'))
  const isTold = async () => {
    const status = said.get(second.id)
    return status?.state === 'created' && status.error?.code === 'host.unreachable'
  }
  expect(await waitUntil(isTold, 5000)).toBe(true)
  for (const want of [alive, ...waiting]) set({ ...want, goal: { kind: 'removed', isForced: true } })
  for (const { id } of [alive, ...waiting]) expect(await says(id, 'absent')).toBe(true)
  await reconciler.idle()
})

test('what dies while its update waits for an image is begun again as it was, with its files', async () => {
  const pull = () => new Promise<never>(() => {})
  const fetches = createImageFetches({ ...host.ports.images, pull }, systemClock, () => {})
  const { reconciler, set, says, said } = loop({ ...host.ports, fetches })
  using _ = host.ports.runtime.watchExits(reconciler.look)
  const plain = host.want(['sh', '-c', 'echo run >>/runs; exec sleep 1000'])
  const first: DesiredContainer = { ...plain, spec: { ...plain.spec, restart: { kind: 'always' } } }
  const runs = async () => {
    const [found] = (await host.ports.snapshots.list()).filter(({ id }) => id === first.id)
    const path = join(found?.rootfs ?? '', 'runs')
    return existsSync(path) ? readFileSync(path, 'utf8').length / 'run\n'.length : 0
  }
  set(first)
  expect(await says(first.id, 'running')).toBe(true)
  expect(await waitUntil(async () => (await runs()) === 1, 5000)).toBe(true)
  const imageDigest = `sha256:${'2'.repeat(64)}` as DesiredContainer['spec']['imageDigest']
  set({
    ...{ ...first, goal: { kind: 'running', run: 2, endPrevious: { timeoutMs: 0 } } },
    spec: { ...first.spec, imageDigest, restart: { kind: 'no' }, revision: 1 },
  })
  await reconciler.idle()
  await host.ports.runtime.kill(first.id, 'SIGKILL')
  expect(await waitUntil(async () => (await runs()) === 2, 10_000)).toBe(true)
  expect(await waitUntil(async () => said.get(first.id)?.state === 'running', 5000)).toBe(true)
  expect(said.get(first.id)).toMatchObject({ run: 1 })
  set({ ...first, goal: { kind: 'removed', isForced: true } })
  expect(await says(first.id, 'absent')).toBe(true)
  await reconciler.idle()
})

test('an action that fails is tried less and less often, and at once when asked', async () => {
  let attempts = 0
  let isBroken = true
  const detach = async (id: string) => {
    attempts++
    if (isBroken) throw new SlipwayError('host.kernel-refused', 'no')
    await host.ports.network.detach(id)
  }
  const { reconciler, set, says } = loop({ ...host.ports, network: { ...host.ports.network, detach } })
  const want = host.want(['sleep', '1000'])
  set(want)
  expect(await says(want.id, 'running')).toBe(true)
  set({ ...want, goal: { kind: 'removed', isForced: true } })
  await systemClock.sleep(2500)
  expect(attempts).toBeGreaterThanOrEqual(3) // At about 0, 250, 750, 1750 ms.
  expect(attempts).toBeLessThanOrEqual(5)
  isBroken = false
  reconciler.look(want.id)
  expect(await says(want.id, 'absent')).toBe(true)
})

test('one begins once what it depends on is there, and says until then what it waits for', async () => {
  const { reconciler, set, says, said } = loop()
  using _ = host.ports.runtime.watchExits(reconciler.look)
  const withSpec = (command: string[], spec: Partial<DesiredContainer['spec']>): DesiredContainer => {
    const want = host.want(command, { name: command.at(-1) ?? '' })
    return { ...want, spec: { ...want.spec, ...spec } }
  }
  const probe = { kind: 'shell', line: '[ -e /dev/shm/up ]' } as const
  const db = withSpec(['sh', '-c', 'sleep 0.7; echo >/dev/shm/up; exec sleep 1000'], {
    healthCheck: { kind: 'check', probe, intervalMs: 100, retries: 1000 },
  })
  const job = withSpec(['sh', '-c', 'sleep 0.3; exit 3'], {})
  const app = withSpec(['sleep', '1000'], {
    dependsOn: [
      { container: db.id, condition: 'healthy' },
      { container: job.id, condition: 'completed' },
    ],
  })
  for (const want of [app, db, job]) set(want)
  const saysError = (code: string) =>
    waitUntil(async () => {
      const status = said.get(app.id)
      return status?.state === 'created' && status.error?.code === code
    }, 10_000)
  expect(await saysError('container.waiting')).toBe(true)
  expect(await saysError('container.dependency-failed')).toBe(true)
  set({ ...job, goal: { kind: 'running', run: 2 }, spec: { ...job.spec, command: ['true'] } })
  expect(await says(app.id, 'running')).toBe(true)
  expect(said.get(db.id)).toMatchObject({ state: 'running', health: { status: 'healthy' } })
  expect(said.get(job.id)).toMatchObject({ state: 'exited', exitCode: 0 })
  for (const want of [app, db, job]) {
    set({ ...want, goal: { kind: 'removed', isForced: true } })
    expect(await says(want.id, 'absent')).toBe(true)
  }
  await reconciler.idle()
})

test('a restart policy is kept without any API, each time after a longer wait', async () => {
  const { reconciler, set, says, said } = loop()
  using _ = host.ports.runtime.watchExits(reconciler.look)
  const plain = host.want(['sh', '-c', 'exit 5'])
  const want: DesiredContainer = { ...plain, spec: { ...plain.spec, restart: { kind: 'on-failure', maxRetries: 3 } } }
  const waits: number[] = []
  const look = setInterval(() => {
    const status = said.get(want.id)
    if (status?.state !== 'restarting') return
    const wait = status.retryAt - status.finishedAt
    if (waits.at(-1) !== wait) waits.push(wait)
  }, 5)
  set(want)
  expect(await says(want.id, 'exited')).toBe(true)
  clearInterval(look)
  expect(waits).toEqual([100, 200, 400])
  const { restarts } = await readRecord(join(host.ports.containersFolder, want.id))
  expect(restarts).toBe(3)
  set({ ...want, goal: { kind: 'removed', isForced: true } })
  expect(await says(want.id, 'absent')).toBe(true)
  await reconciler.idle()
})
