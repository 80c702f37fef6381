import { expect, test } from 'vitest'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import { stepsOf } from './build-steps.ts'

const line = (step: number, at: number, mark: BuildLogLine['mark'], text: string): BuildLogLine => ({
  ...{ stream: 'step', step, at, text },
  ...(mark ? { mark } : {}),
  ...(mark && mark !== 'begin' ? { durationMs: at } : {}),
})

const LINES = [
  line(1, 0, 'begin', 'one'),
  line(2, 1, 'begin', 'two'),
  line(2, 2, 'progress', '1.0 MB'),
  line(2, 5, undefined, 'output'),
  line(2, 7, 'failed', 'ERROR: it broke'),
  line(3, 8, 'done', 'its beginning is not kept'),
]

test('a step is what its lines say; one without an end runs as long as its build does', () => {
  const failed = { number: 2, name: 'two', state: 'failed', durationMs: 7, error: 'it broke' }
  const times = { startedAt: '1970-01-01T00:00:00.001Z', finishedAt: '1970-01-01T00:00:00.007Z' }
  expect(stepsOf(LINES, false)).toEqual([
    { number: 1, name: 'one', state: 'running', startedAt: '1970-01-01T00:00:00.000Z' },
    { ...failed, ...times },
  ])
  expect(stepsOf(LINES, true).map(({ state }) => state)).toEqual(['canceled', 'failed'])
})

test('what was under way when the build began again is over, and keeps its number', () => {
  const anew: BuildLogLine = { stream: 'step', at: 9, mark: 'anew', text: 'host b takes over' }
  const steps = stepsOf([...LINES, anew, line(3, 10, 'begin', 'one')], false)
  expect(steps.map(({ number, state }) => [number, state])).toEqual([
    [1, 'canceled'],
    [2, 'failed'],
    [3, 'running'],
  ])
  expect(steps[0]?.finishedAt).toBe('1970-01-01T00:00:00.009Z')
})
