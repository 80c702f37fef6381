import { expect, test } from 'vitest'
import type { ObservedContainer, ObservedState } from '#shared/domain/container.ts'
import type { ContainerHealth } from '#shared/domain/health.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { containerTransitions } from './transitions.ts'

const running = (run: number, status?: ContainerHealth['status']): ObservedState => ({
  ...{ state: 'running', run, pid: 1, startedAt: 1 },
  ...(status ? { health: { status, failingStreak: 0 } } : {}),
})
const exited = (run: number, more: object = {}): ObservedState => ({
  ...{ state: 'exited', run, exitCode: 137, startedAt: 1, finishedAt: 2, ...more },
})
const seen = (status: ObservedState, lastEnd?: ObservedContainer['lastEnd']): ObservedContainer => ({
  ...{ id: 'aaaaaaaaaaaaaaaa' as ContainerId, generation: 1, observedAt: 1, restarts: 0, status, lastEnd },
})
const types = (before: ObservedState | null, now: ObservedContainer) =>
  containerTransitions(before, now).map(({ type }) => type.replace('container.', ''))
const end = { run: 1, exitCode: 7, finishedAt: 3 }

test('health is told when it changes, but for its beginning', () => {
  expect(types(running(1), seen(running(1, 'starting')))).toEqual([])
  expect(types(running(1, 'starting'), seen(running(1, 'healthy')))).toEqual(['healthy'])
  expect(types(running(1, 'healthy'), seen(running(1, 'healthy')))).toEqual([])
  expect(types(running(1, 'healthy'), seen(running(1, 'unhealthy')))).toEqual(['unhealthy'])
  expect(types(running(1, 'healthy'), seen(running(2, 'healthy')))).toEqual(['start', 'healthy'])
  expect(types(null, seen(running(1, 'healthy')))).toEqual(['start', 'healthy'])
})

test('an end for its memory is told as such, with its reason', () => {
  const error = { code: 'container.memory-exceeded', message: 'why' } as const
  const [oom, die] = containerTransitions(running(1), seen(exited(1, { isOutOfMemory: true, error })))
  expect(oom?.type).toBe('container.oom')
  expect(die).toEqual({
    type: 'container.die',
    data: { exitCode: 137, oomKilled: true, error: error.code, message: 'why' },
  })
})

test('the end of a run that another one followed at once is told, once', () => {
  expect(types(running(1), seen(running(2), end))).toEqual(['die', 'start'])
  expect(types(exited(1), seen(running(2), end))).toEqual(['start'])
  expect(types(running(2), seen(running(2), end))).toEqual([])
  expect(types(running(2), seen(running(3), end))).toEqual(['start'])
})
