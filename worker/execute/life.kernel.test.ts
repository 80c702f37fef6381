import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer, ObservedState } from '#shared/domain/container.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { CGROUP_ROOT, cgroupRoot, cgroupVersion } from '#worker/host/cgroup.ts'
import { observeContainer } from '../observe/container-facts.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import { planContainer } from '../reconcile/plan-container.ts'
import { observedState } from '../reconcile/status.ts'
import { execute } from './execute.ts'
import { removeContainer } from './remove-container.ts'
import { logPathOf } from './run-container.ts'

/** How containers begin, go on with other limits, and end, on the real kernel. */

let host: TestHost
beforeAll(async () => {
  host = await openTestHost('tlife', 14)
})
afterAll(() => host?.[Symbol.asyncDispose]())

/** As the agent's loop does it, until nothing is to be done now. */
async function converge(want: DesiredContainer): Promise<ObservedState> {
  for (let step = 0; step < 10; step++) {
    const facts = await observeContainer(host.ports, want, false)
    const plan = planContainer(want, facts, systemClock.now())
    if (plan.actions.length === 0) return observedState(want, facts)
    for (const action of plan.actions) await execute(action, want, host.ports)
  }
  throw new Error('The plan does not converge.')
}

const logOf = ({ id }: DesiredContainer) => readFileSync(logPathOf(host.ports, id), 'utf8')
const until = (want: DesiredContainer, state: ObservedState['state']) =>
  waitUntil(async () => (await converge(want)).state === state, 10_000)

const withSpec = (command: string[], spec: Partial<DesiredContainer['spec']>): DesiredContainer => {
  const want = host.want(command)
  return { ...want, spec: { ...want.spec, ...spec } }
}
const MIB = 1024 ** 2

test('an init is the first process: it reaps orphans, passes signals on, and ends with the code of its child', async () => {
  const script = 'echo first $(cat /proc/1/comm); trap "exit 9" TERM; (sleep 0.1 & ) ; while :; do sleep 0.05; done'
  const want = withSpec(['sh', '-c', script], { hasInit: true, isReadOnly: true })
  expect(await until(want, 'running')).toBe(true)
  expect(await waitUntil(async () => /first (catatonit|init)/.test(logOf(want)), 5000)).toBe(true)
  const stopped: DesiredContainer = { ...want, goal: { kind: 'stopped', run: 1, timeoutMs: 9000 } }
  expect(await until(stopped, 'exited')).toBe(true)
  expect(await converge(stopped)).toMatchObject({ state: 'exited', exitCode: 9 })
  await removeContainer(host.ports, want.id)
})

test('a stop that names no signal sends the one of the container', async () => {
  const want = withSpec(['sh', '-c', 'trap "exit 4" USR1; while :; do sleep 0.05; done'], { stopSignal: 'SIGUSR1' })
  expect(await until(want, 'running')).toBe(true)
  await systemClock.sleep(200) // For the trap.
  const stopped: DesiredContainer = { ...want, goal: { kind: 'stopped', run: 1, timeoutMs: 9000 } }
  expect(await until(stopped, 'exited')).toBe(true)
  expect(await converge(stopped)).toMatchObject({ exitCode: 4 })
  await removeContainer(host.ports, want.id)
})

test('an end for its memory is named, and stays so when the kernel has forgotten it', async () => {
  const hungry = ['sh', '-c', 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done']
  const want = withSpec(hungry, { resources: { memoryBytes: 8 * MIB } })
  expect(await until(want, 'exited')).toBe(true)
  const named = { state: 'exited', exitCode: 137, isOutOfMemory: true, error: { code: 'container.memory-exceeded' } }
  expect(await converge(want)).toMatchObject(named)
  const facts = await observeContainer(host.ports, want, false)
  if (facts.process.state !== 'exited') throw new Error('It has ended.')
  const forgotten = { ...facts, process: { ...facts.process, isOutOfMemory: false } }
  expect(observedState(want, forgotten)).toMatchObject(named)
  const again: DesiredContainer = {
    ...want,
    goal: { kind: 'running', run: 2 },
    spec: { ...want.spec, command: ['true'], resources: {} },
  }
  await converge(again)
  expect(await until(again, 'exited')).toBe(true)
  expect(await converge(again)).not.toHaveProperty('isOutOfMemory')
  await removeContainer(host.ports, want.id)
})

const limitFile = cgroupVersion() === 'v2' ? 'memory.max' : 'memory.limit_in_bytes'
const tree = cgroupVersion() === 'v2' ? '' : 'memory'
const limitOf = ({ id }: DesiredContainer) =>
  readFileSync(join(CGROUP_ROOT, tree, cgroupRoot('tlife'), id, limitFile), 'utf8').trim()

test('limits change while it runs, up, down and away, and the next run of an update has them', async () => {
  const want = withSpec(['sleep', '1000'], { resources: { memoryBytes: 64 * MIB, cpus: 0.5, pids: 20 } })
  const before = await converge(want)
  const limited = (resources: DesiredContainer['spec']['resources']) => ({ ...want, spec: { ...want.spec, resources } })
  expect(await converge(limited({ memoryBytes: 128 * MIB, cpus: 1, pids: 30 }))).toEqual(before)
  expect(limitOf(want)).toBe(String(128 * MIB))
  expect(await converge(limited({ memoryBytes: 32 * MIB }))).toEqual(before)
  expect(limitOf(want)).toBe(String(32 * MIB))
  expect(await converge(limited({ cpus: 0.2 }))).toEqual(before)
  expect(Number(limitOf(want)) > 2 ** 50 || limitOf(want) === 'max').toBe(true)
  const { spec } = await readRecord(join(host.ports.containersFolder, want.id))
  expect(spec?.resources).toEqual({ cpus: 0.2 })
  await removeContainer(host.ports, want.id)
})

test('a limit below the memory in use is refused, said, and kills nothing', async () => {
  const hold =
    'x=aaaaaaaaaaaaaaaa; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do x=$x$x; done; echo held; sleep 1000; echo $x'
  const want = withSpec(['sh', '-c', hold], { resources: { memoryBytes: 256 * MIB } })
  expect(await until(want, 'running')).toBe(true)
  expect(await waitUntil(async () => logOf(want).includes('held'), 20_000)).toBe(true)
  const small = { ...want, spec: { ...want.spec, resources: { memoryBytes: 8 * MIB } } }
  expect(await converge(small)).toMatchObject({ state: 'running', error: { code: 'container.memory-in-use' } })
  expect(limitOf(want)).toBe(String(256 * MIB))
  expect(await converge(want)).not.toHaveProperty('error')
  await removeContainer(host.ports, want.id)
})

test('a restart policy that changes decides about the run that goes on', async () => {
  const want = withSpec(['sh', '-c', 'while [ ! -e /go ]; do sleep 0.05; done; exit 3'], {})
  expect(await until(want, 'running')).toBe(true)
  const always: DesiredContainer = { ...want, spec: { ...want.spec, restart: { kind: 'always' } } }
  await converge(always)
  await host.ports.runtime.kill(want.id, 'SIGKILL')
  expect(await waitUntil(async () => (await host.ports.runtime.inspect(want.id)).state === 'exited', 5000)).toBe(true)
  expect(await until(always, 'running')).toBe(true)
  const record = await readRecord(join(host.ports.containersFolder, want.id))
  expect(record).toMatchObject({ run: 1, restarts: 1, attempts: 1 })
  await removeContainer(host.ports, want.id)
})

/** The machine starts anew: every process is gone, and with it the runtime's state. */
async function reboot(want: DesiredContainer): Promise<void> {
  const folder = join(host.ports.containersFolder, want.id)
  await host.ports.runtime.delete(want.id)
  await host.ports.network.detach(want.id)
  await writeRecord(folder, { ...(await readRecord(folder)), bootId: 'the one before' })
}

const down: DesiredContainer['goal'] = { kind: 'stopped', run: 1, timeoutMs: 0 }
const up: DesiredContainer['goal'] = { kind: 'running', run: 1 }

test.each([
  ['no', up, 'exited', 1],
  ['on-failure', up, 'running', 1],
  ['always', up, 'running', 1],
  ['unless-stopped', up, 'running', 1],
  ['no', down, 'exited', 1],
  ['on-failure', down, 'exited', 1],
  ['always', down, 'running', 2],
  ['unless-stopped', down, 'exited', 1],
] as const)('after a reboot, %s: what was to be %j is %s', async (kind, goal, state, run) => {
  const want = withSpec(['sleep', '1000'], { restart: { kind } })
  expect(await until(want, 'running')).toBe(true)
  const asked: DesiredContainer = { ...want, goal }
  if (goal.kind === 'stopped') expect(await until(asked, 'exited')).toBe(true)
  await reboot(want)
  expect(await until(asked, state)).toBe(true)
  expect(await converge(asked)).toMatchObject({ state, run })
  // It goes on as what it is: over another reboot, and to the next stop.
  if (run === 2) {
    await reboot(want)
    expect(await until(asked, 'running')).toBe(true)
    const stopped: DesiredContainer = { ...want, goal: { ...down, run } }
    expect(await until(stopped, 'exited')).toBe(true)
  }
  await removeContainer(host.ports, want.id)
})
