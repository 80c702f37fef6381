import { describe, expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { ContainerGoal, ContainerSpec, ObservedState, StopOrder } from '#shared/domain/container.ts'
import { nextGoal, type Order } from './goals.ts'

const spec: ContainerSpec = {
  ...{ image: 'busybox', imageDigest: digestFromHex('0'.repeat(64)), env: [], labels: {}, ports: [] },
  ...{ restart: { kind: 'no' }, resources: {}, isReadOnly: false },
}
const live: ObservedState = { state: 'running', run: 1, pid: 1, startedAt: 0 }
const ended: ObservedState = { state: 'exited', run: 1, exitCode: 0, finishedAt: 1 }
const running: ContainerGoal = { kind: 'running', run: 1 }
const order = (goal: ContainerGoal, observed: ObservedState | null, what: Order) =>
  nextGoal({ name: 'c', goal, observed, signal: null, spec }, what)
const stop: Order = { kind: 'stop', signal: undefined, timeoutMs: 1000 }

describe('orders', () => {
  test('a start of what runs changes nothing; of what has ended it begins another run', () => {
    expect(order(running, live, { kind: 'start' })).toBeUndefined()
    expect(order(running, ended, { kind: 'start' })?.goal).toEqual({ kind: 'running', run: 2 })
    expect(order({ kind: 'stopped', run: 1, timeoutMs: 0 }, ended, { kind: 'start' })?.goal).toMatchObject({ run: 2 })
    expect(order({ kind: 'created' }, null, { kind: 'start' })?.goal).toEqual({ kind: 'running', run: 1 })
  })

  test('a start during a stop keeps the time that the earlier run was given', () => {
    const stopping: ContainerGoal = { kind: 'stopped', run: 1, signal: 'SIGINT', timeoutMs: 9000 }
    expect(order(stopping, live, { kind: 'start' })?.goal).toEqual({
      ...{ kind: 'running', run: 2, endPrevious: { signal: 'SIGINT', timeoutMs: 9000 } },
    })
  })

  test('a restart is another run behind the end of the one before, and a start of what does not run', () => {
    const restart = (goal: ContainerGoal, observed: ObservedState | null, end: StopOrder = { timeoutMs: 500 }) =>
      order(goal, observed, { kind: 'restart', end })?.goal
    expect(restart(running, live)).toEqual({ kind: 'running', run: 2, endPrevious: { timeoutMs: 500 } })
    expect(restart({ kind: 'paused', run: 3 }, live)).toMatchObject({ kind: 'running', run: 4 })
    expect(restart({ kind: 'created' }, null)).toEqual({ kind: 'running', run: 1 })
    expect(restart({ kind: 'stopped', run: 1, timeoutMs: 200 }, live)).toMatchObject({
      endPrevious: { timeoutMs: 200 },
    })
    expect(restart(running, ended, { signal: 'SIGINT', timeoutMs: 0 })).toMatchObject({
      endPrevious: { signal: 'SIGINT' },
    })
  })

  test('what a host began again after a reboot is ordered about as what was asked for', () => {
    const down: ContainerGoal = { kind: 'stopped', run: 1, timeoutMs: 0 }
    const revived: ObservedState = { ...live, run: 2 }
    expect(order(down, revived, stop)?.goal).toMatchObject({ kind: 'stopped', run: 2 })
    expect(order(down, revived, { kind: 'start' })?.goal).toEqual({ kind: 'running', run: 2 })
    expect(order(down, revived, { kind: 'pause' })?.goal).toEqual({ kind: 'paused', run: 2 })
    expect(order(down, revived, { kind: 'restart', end: { timeoutMs: 9 } })?.goal).toMatchObject({
      run: 3,
      endPrevious: { timeoutMs: 9 },
    })
    expect(order(down, revived, { kind: 'update', end: {} })?.goal).toMatchObject({ kind: 'running', run: 3 })
    expect(order(down, revived, { kind: 'kill', signal: 'SIGKILL' })?.goal).toMatchObject({ kind: 'stopped', run: 2 })
    expect(order(down, { ...ended, run: 2 }, { kind: 'start' })?.goal).toMatchObject({ kind: 'running', run: 3 })
  })

  test('the time of a stop that names none is the container’s own', () => {
    const own = (what: Order) =>
      nextGoal({ name: 'c', goal: running, observed: live, signal: null, spec: { ...spec, stopTimeoutMs: 7 } }, what)
    expect(own({ kind: 'stop', signal: undefined, timeoutMs: undefined })?.goal).toMatchObject({ timeoutMs: 7 })
    expect(own({ kind: 'restart', end: {} })?.goal).toMatchObject({ endPrevious: { timeoutMs: 7 } })
    expect(own({ kind: 'update', end: { timeoutMs: 9 } })?.goal).toMatchObject({ endPrevious: { timeoutMs: 9 } })
  })

  test('a stop keeps its run; a second one changes nothing', () => {
    const stopped = order(running, live, stop)?.goal
    expect(stopped).toEqual({ kind: 'stopped', run: 1, timeoutMs: 1000 })
    expect(stopped && order(stopped, live, stop)).toBeUndefined()
  })

  const stopping: ContainerGoal = { kind: 'stopped', run: 1, timeoutMs: 30_000 }

  test('what is being stopped can be hurried, by a shorter time and by signals, and be killed', () => {
    const hurried = order(stopping, live, { ...stop, timeoutMs: 2000 })
    expect(hurried?.goal).toEqual({ ...stopping, timeoutMs: 2000 })
    const told = order(stopping, live, { kind: 'stop', signal: 'SIGINT', timeoutMs: 60_000 })
    expect(told).toEqual({ goal: stopping, signal: { seq: 1, signal: 'SIGINT' } })
    expect(order(stopping, live, { ...stop, timeoutMs: 60_000 })).toBeUndefined()
    expect(order(stopping, live, { kind: 'kill', signal: 'SIGUSR1' })).toEqual({
      ...{ goal: stopping, signal: { seq: 1, signal: 'SIGUSR1' } },
    })
    const killed = { kind: 'stopped', run: 1, signal: 'SIGKILL', timeoutMs: 0 }
    expect(order(stopping, live, { kind: 'kill', signal: 'SIGKILL' })?.goal).toEqual(killed)
    expect(order(stopping, live, { kind: 'stop', signal: 'SIGKILL', timeoutMs: 9 })?.goal).toEqual(killed)
  })

  test('a signal is delivered once more each time, over stops and starts too', () => {
    expect(order(running, live, { kind: 'kill', signal: 'SIGHUP' })?.signal).toEqual({ seq: 1, signal: 'SIGHUP' })
    const seqAfter = (goal: ContainerGoal, observed: ObservedState, what: Order) =>
      nextGoal({ name: 'c', goal, observed, signal: { seq: 4, signal: 'SIGHUP' }, spec }, what)?.signal?.seq
    expect(seqAfter(running, live, stop)).toBe(4)
    expect(seqAfter({ kind: 'stopped', run: 1, timeoutMs: 0 }, ended, { kind: 'start' })).toBe(4)
  })

  test.each<[string, ContainerGoal, ObservedState | null, Order]>([
    ['container.not-running', running, ended, { kind: 'pause' }],
    ['container.not-running', stopping, live, { kind: 'pause' }],
    ['container.not-running', stopping, ended, { kind: 'kill', signal: 'SIGHUP' }],
    ['container.not-running', running, ended, { kind: 'kill', signal: 'SIGKILL' }],
    ['container.running', running, live, { kind: 'remove', isForced: false }],
    ['container.removing', { kind: 'removed', isForced: true }, live, { kind: 'start' }],
  ])('%s', (code, goal, observed, what) => {
    expect(() => order(goal, observed, what)).toThrow(expect.objectContaining({ code }))
  })

  const kept: ContainerSpec = { ...spec, keepForMs: 1000 }
  test.each<[string, ContainerSpec, ContainerGoal, ObservedState | null, number]>([
    ['that has no such time', spec, running, ended, 1e12],
    ['before its time', kept, running, ended, 1000],
    ['that runs', kept, running, live, 1e12],
    ['that was started again', kept, { kind: 'running', run: 2 }, ended, 1e12],
    ['that waits for its policy', kept, running, { ...ended, state: 'restarting', retryAt: 2 }, 1e12],
    ['that never ran', kept, { kind: 'created' }, { state: 'created' }, 1e12],
    ['that nobody saw', kept, running, null, 1e12],
  ])('a container %s does not expire', (_, ofSpec, goal, observed, now) => {
    const current = { name: 'c', goal, observed, signal: null, spec: ofSpec }
    expect(() => nextGoal(current, { kind: 'expire', now })).toThrow(
      expect.objectContaining({ code: 'container.kept' }),
    )
  })

  test('a container that was kept for its time expires, once', () => {
    const current = { name: 'c', observed: ended, signal: null, spec: kept }
    const expired = nextGoal({ ...current, goal: running }, { kind: 'expire', now: 1001 })?.goal
    expect(expired).toEqual({ kind: 'removed', isForced: false })
    expect(expired && nextGoal({ ...current, goal: expired }, { kind: 'expire', now: 1001 })).toBeUndefined()
  })

  test('an update begins another run of what is asked to run, and leaves down what is down', () => {
    const update: Order = { kind: 'update', end: { timeoutMs: 500 } }
    const next = { kind: 'running', run: 2, endPrevious: { timeoutMs: 500 } }
    expect(order(running, live, update)?.goal).toEqual(next)
    expect(order(running, ended, update)?.goal).toEqual(next)
    expect(order({ kind: 'paused', run: 1 }, live, update)?.goal).toEqual({ kind: 'paused', run: 2 })
    expect(order(stopping, live, update)?.goal).toEqual(stopping)
    expect(order({ kind: 'created' }, null, update)?.goal).toEqual({ kind: 'created' })
    expect(() => order({ kind: 'removed', isForced: true }, live, update)).toThrow(
      expect.objectContaining({ code: 'container.removing' }),
    )
  })

  test('what runs is removed by force, what has ended without', () => {
    expect(order(running, live, { kind: 'remove', isForced: true })?.goal).toMatchObject({ kind: 'removed' })
    expect(order(running, ended, { kind: 'remove', isForced: false })?.goal).toMatchObject({ kind: 'removed' })
  })
})
