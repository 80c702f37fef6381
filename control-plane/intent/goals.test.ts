import { describe, expect, test } from 'vitest'
import type { ContainerGoal, ObservedState } from '#shared/domain/container.ts'
import { nextGoal, type Order } from './goals.ts'

const live: ObservedState = { state: 'running', run: 1, pid: 1, startedAt: 0 }
const ended: ObservedState = { state: 'exited', run: 1, exitCode: 0, finishedAt: 1 }
const running: ContainerGoal = { kind: 'running', run: 1 }
const order = (goal: ContainerGoal, observed: ObservedState | null, what: Order) =>
  nextGoal({ name: 'c', goal, observed, signal: null }, what)
const stop: Order = { kind: 'stop', signal: undefined, timeoutMs: 1000 }

describe('orders', () => {
  test('a start of what runs changes nothing; of what has ended it begins another run', () => {
    expect(order(running, live, { kind: 'start' })).toBeUndefined()
    expect(order(running, ended, { kind: 'start' })?.goal).toEqual({ kind: 'running', run: 2 })
    expect(order({ kind: 'stopped', run: 1, timeoutMs: 0 }, ended, { kind: 'start' })?.goal).toMatchObject({ run: 2 })
    expect(order({ kind: 'created' }, null, { kind: 'start' })?.goal).toEqual({ kind: 'running', run: 1 })
  })

  test('a stop keeps its run; a second one changes nothing', () => {
    const stopped = order(running, live, stop)?.goal
    expect(stopped).toEqual({ kind: 'stopped', run: 1, timeoutMs: 1000 })
    expect(stopped && order(stopped, live, stop)).toBeUndefined()
  })

  test('a signal is delivered once more each time', () => {
    expect(order(running, live, { kind: 'kill', signal: 'SIGHUP' })?.signal).toEqual({ seq: 1, signal: 'SIGHUP' })
  })

  test.each<[string, ContainerGoal, ObservedState | null, Order]>([
    ['container.not-running', running, ended, { kind: 'pause' }],
    ['container.not-running', running, ended, { kind: 'kill', signal: 'SIGKILL' }],
    ['container.running', running, live, { kind: 'remove', isForced: false }],
    ['container.removing', { kind: 'removed', isForced: true }, live, { kind: 'start' }],
  ])('%s', (code, goal, observed, what) => {
    expect(() => order(goal, observed, what)).toThrow(expect.objectContaining({ code }))
  })

  test('what runs is removed by force, what has ended without', () => {
    expect(order(running, live, { kind: 'remove', isForced: true })?.goal).toMatchObject({ kind: 'removed' })
    expect(order(running, ended, { kind: 'remove', isForced: false })?.goal).toMatchObject({ kind: 'removed' })
  })
})
