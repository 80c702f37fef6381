import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { digestFromHex } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { processesOf } from '#test/support/processes.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { observeContainer, observedIds } from '../observe/container-facts.ts'
import { readRecord } from '../observe/container-record.ts'
import { planContainer } from '../reconcile/plan-container.ts'
import { observedState } from '../reconcile/status.ts'
import { openSnapshot } from './container-snapshot.ts'
import { execute } from './execute.ts'
import type { HostPorts } from './ports.ts'
import { removeContainer } from './remove-container.ts'
import { logPathOf, prepareContainer, runContainer } from './run-container.ts'
import { snapshotHolds } from './snapshot-holds.ts'

/** Beginning a run fails, or its agent dies, at every step: nothing is left, and the next looks make it run, once. */

let host: TestHost
let marks = 7_346_100 // No word of any other process.

beforeAll(async () => {
  host = await openTestHost('texec', 1)
})
afterAll(() => host?.[Symbol.asyncDispose]())

const STEPS = [
  ['runtime', 'delete'],
  ['images', 'find'],
  ['snapshots', 'prepare'],
  ['network', 'attach'],
  ['runtime', 'create'],
  ['runtime', 'start'],
] as const
type Step = (typeof STEPS)[number] | readonly ['snapshots', 'remove']
const FAULTS = ['fails', 'fails after it was done', 'never returns', 'never returns after it was done'] as const

/** The real ports, of which one call, the first to this step, has a fault. */
function faulty(ports: HostPorts, [port, method]: Step, fault: (typeof FAULTS)[number]): HostPorts {
  let isSpent = false
  const call = async (real: () => Promise<unknown>) => {
    if (isSpent) return real()
    isSpent = true
    if (fault.endsWith('done')) await real()
    if (fault.startsWith('never')) return new Promise(() => {})
    throw new Error(`${method} ${fault}`)
  }
  const proxy = new Proxy(ports[port], {
    get: (target, name) => {
      const member = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      const bound = member.bind(target)
      return name === method ? (...args: unknown[]) => call(() => bound(...args)) : bound
    },
  })
  // An agent that dies leaves no holds to the next one.
  return { ...ports, holds: snapshotHolds(), [port]: proxy }
}

/** As the agent's loop does it, with all waits over at once. */
async function converge(want: DesiredContainer, ports = host.ports) {
  for (let step = 0; step < 10; step++) {
    const facts = await observeContainer(ports, want, false)
    const first = planContainer(want, facts, ports.clock.now())
    const plan = first.lookAgainAt === undefined ? first : planContainer(want, facts, first.lookAgainAt)
    if (plan.actions.length === 0) return observedState(want, facts)
    for (const action of plan.actions) await execute(action, want, ports)
  }
  return undefined
}

async function ended(want: DesiredContainer): Promise<void> {
  expect(await waitUntil(async () => (await host.ports.runtime.inspect(want.id)).state === 'exited', 5000)).toBe(true)
}

async function leftOf({ id }: DesiredContainer): Promise<string[]> {
  const { runtime, network, snapshots } = host.ports
  const mounted = (await snapshots.list()).filter(snapshot => snapshot.id === id && snapshot.isMounted)
  return [
    ...((await runtime.list()).includes(id) ? ['runtime state'] : []),
    ...(network.isAttached(id) ? ['attachment'] : []),
    ...(existsSync(`/run/netns/slw-${host.ports.instance}-${id}`) ? ['network namespace'] : []),
    ...(existsSync(`/sys/class/net/slw${id.slice(0, 12)}`) ? ['link'] : []),
    ...mounted.map(() => 'mount'),
  ]
}

const run = (want: DesiredContainer, number: number, ports: HostPorts) =>
  runContainer({ kind: 'runContainer', want, run: number, attempts: 0, restarts: 0 }, ports)

describe.each(STEPS.map(step => ({ name: step.join('.'), step })))('$name', ({ step }) => {
  test.each(FAULTS)('%s: the second run of a container comes all the same, once', async fault => {
    const mark = String(marks++)
    const first = host.want(['sh', '-c', 'exit 3'])
    await run(first, 1, host.ports)
    await ended(first)
    await host.ports.network.detach(first.id)
    const want: DesiredContainer = {
      ...{ ...first, goal: { kind: 'running', run: 2 } },
      spec: { ...first.spec, command: ['sleep', mark] },
    }
    const attempt = run(want, 2, faulty(host.ports, step, fault)).then(
      () => 'begun',
      () => 'failed',
    )
    const isGone = fault.startsWith('never')
    const outcome = await Promise.race([attempt, systemClock.sleep(isGone ? 500 : 20_000).then(() => 'agent gone')])
    expect(outcome).toBe(isGone ? 'agent gone' : 'failed')
    if (outcome === 'failed' && step[1] !== 'delete') {
      expect(await leftOf(want)).toEqual([])
      const said = observedState(want, await observeContainer(host.ports, want, false))
      expect(said).toMatchObject({ state: 'created', error: { code: 'internal' } })
    }
    expect(await converge(want)).toMatchObject({ state: 'running', run: 2 })
    expect(await waitUntil(async () => processesOf(mark).length > 0, 5000)).toBe(true) // Its exec comes after its start.
    expect(processesOf(mark)).toHaveLength(1)
    await removeContainer(host.ports, want.id)
    expect(await leftOf(want)).toEqual([])
    expect(processesOf(mark)).toEqual([])
  })
})

test('a failure at one side waits for the other side before it is undone', async () => {
  const want = host.want(['sleep', '1000'])
  const { network, snapshots } = host.ports
  const slow = {
    ...network,
    attach: async (...args: Parameters<typeof network.attach>) => {
      await systemClock.sleep(100)
      return network.attach(...args)
    },
  }
  const ports = { ...faulty(host.ports, ['snapshots', 'prepare'], 'fails'), network: slow }
  await expect(run(want, 1, ports)).rejects.toThrow('prepare fails')
  await systemClock.sleep(300)
  expect(await leftOf(want)).toEqual([])
  await snapshots.remove(want.id)
})

test('folders that the image declares as volumes are there, inside the root, in every run', async () => {
  const want = host.want(['sh', '-c', 'for f in /data /deep/er /escape; do test -d $f || exit 4; done; test -w /data'])
  const image = await host.ports.images.find(want.spec.imageDigest)
  if (!image) throw new Error('The test host has an image.')
  const digest = digestFromHex('e'.repeat(64))
  const Volumes = { '/data': {}, '/deep/er': {}, '../../../escape': {} }
  await host.ports.images.add({ ...image, digest, config: { ...image.config, config: { Volumes } } })
  const given = { ...want, spec: { ...want.spec, imageDigest: digest } }
  for (const number of [1, 2]) {
    await run(given, number, host.ports)
    await ended(given)
    expect(await host.ports.runtime.inspect(want.id)).toMatchObject({ exitCode: 0 })
  }
  await removeContainer(host.ports, want.id)
})

test('after a reboot a run that was begun has ended, with the time at which that was noticed', async () => {
  const want = host.want(['sleep', '1000'])
  await run(want, 1, host.ports)
  await host.ports.runtime.delete(want.id) // A reboot takes process and runtime state, and nobody keeps a code.
  const before = systemClock.now()
  const said = await converge(want)
  expect(said).toMatchObject({ state: 'exited', run: 1, exitCode: 137 })
  expect(said?.state === 'exited' && said.finishedAt).toBeGreaterThanOrEqual(before)
  expect(await converge(want)).toEqual(said)
  await removeContainer(host.ports, want.id)
})

test('a container that could not be made is made on the next try', async () => {
  const want = host.want(['true'], { goal: { kind: 'created' } })
  await prepareContainer(want, faulty(host.ports, ['snapshots', 'prepare'], 'fails')).catch(() => {})
  expect((await readRecord(join(host.ports.containersFolder, want.id))).failure?.tries).toBe(1)
  expect(await converge(want)).toEqual({ state: 'created' })
  expect((await host.ports.snapshots.list()).map(({ id }) => id)).toContain(want.id)
  await removeContainer(host.ports, want.id)
  expect(await observedIds(host.ports)).not.toContain(want.id)
})

const UPDATE_STEPS: Step[] = [...STEPS, ['snapshots', 'remove']]

describe.each(UPDATE_STEPS.map(step => ({ name: step.join('.'), step })))('an update, $name', ({ step }) => {
  test.each(FAULTS)('%s: it runs all the same, without a file of what was before, and its log goes on', async fault => {
    const mark = String(marks++)
    const first = host.want(['sh', '-c', 'echo old; echo old >/old; sleep 1000'])
    await run(first, 1, host.ports)
    expect(await converge(first)).toMatchObject({ state: 'running' })
    const log = () => readFileSync(logPathOf(host.ports, first.id), 'utf8')
    expect(await waitUntil(async () => log().includes('old'), 5000)).toBe(true)
    await host.ports.runtime.kill(first.id, 'SIGKILL')
    await ended(first)
    const command = ['sh', '-c', `test -e /old && exit 9; echo new; exec sleep ${mark}`]
    const want: DesiredContainer = {
      ...{ ...first, goal: { kind: 'running', run: 2, endPrevious: { timeoutMs: 0 } } },
      spec: { ...first.spec, command, revision: 1 },
    }
    const attempt = run(want, 2, faulty(host.ports, step, fault)).catch(() => {})
    await Promise.race([attempt, systemClock.sleep(fault.startsWith('never') ? 500 : 20_000)])
    expect(await converge(want)).toMatchObject({ state: 'running', run: 2 })
    expect(await waitUntil(async () => processesOf(mark).length > 0, 5000)).toBe(true)
    expect(await waitUntil(async () => log().includes('new') && log().includes('old'), 5000)).toBe(true)
    await removeContainer(host.ports, want.id)
    expect(await leftOf(want)).toEqual([])
  })
})

test('an update of what stays down takes its files, and they cannot be read for those of the new image meanwhile', async () => {
  const want = host.want(['sh', '-c', 'echo old >/old'])
  await run(want, 1, host.ports)
  await ended(want)
  const updated: DesiredContainer = {
    ...{ ...want, goal: { kind: 'stopped', run: 1, timeoutMs: 0 } },
    spec: { ...want.spec, revision: 1 },
  }
  const early = openSnapshot(host.ports, want.id, updated.spec)
  await expect(early).rejects.toMatchObject({ code: 'container.files-unavailable' })
  expect(await converge(updated)).toMatchObject({ state: 'exited', run: 1, exitCode: 0 })
  expect((await host.ports.snapshots.list()).map(({ id }) => id)).not.toContain(want.id)
  await using snapshot = await openSnapshot(host.ports, want.id, updated.spec)
  expect(existsSync(join(snapshot.rootfs, 'old'))).toBe(false)
  await removeContainer(host.ports, want.id)
})
