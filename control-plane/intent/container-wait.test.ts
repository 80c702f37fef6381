import { expect, test } from 'vitest'
import type { ContainerGoal, ObservedState } from '#shared/domain/container.ts'
import type { ContainerRow } from '../store/containers.ts'
import { isReached } from './container-wait.ts'

const running = (run: number): ObservedState => ({ state: 'running', run, pid: 1, startedAt: 0 })
const exited = (run: number): ObservedState => ({ state: 'exited', run, exitCode: 0, finishedAt: 1 })
const row = (goal: ContainerGoal, observed: ObservedState, observedGeneration = 5) =>
  ({ goal, observed, generation: 5, observedGeneration }) as ContainerRow

test.each<[string, boolean, ContainerGoal, ObservedState]>([
  ['the run that was asked for', true, { kind: 'running', run: 2 }, running(2)],
  ['an earlier run that is still ending', false, { kind: 'running', run: 2 }, running(1)],
  ['the end of an earlier run', false, { kind: 'running', run: 2 }, exited(1)],
  ['an end', true, { kind: 'running', run: 2 }, exited(2)],
])('a wait for running meets %s: %s', (_what, isOver, goal, observed) => {
  expect(isReached(row(goal, observed), 'running')).toBe(isOver)
})

test('a stop of what never began is over with the end of the run before', () => {
  expect(isReached(row({ kind: 'stopped', run: 2, timeoutMs: 0 }, exited(1)), 'stopped')).toBe(true)
})

test('what was seen before the order says nothing', () => {
  expect(isReached(row({ kind: 'running', run: 1 }, running(1), 4), 'running')).toBe(false)
})
