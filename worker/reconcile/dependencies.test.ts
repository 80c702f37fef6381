import { expect, test } from 'vitest'
import type { ObservedState } from '#shared/domain/container.ts'
import { unmetDependency } from './dependencies.ts'

const created: ObservedState = { state: 'created' }
const running: ObservedState = { state: 'running', run: 1, pid: 1, startedAt: 1 }
const health = (status: 'starting' | 'healthy' | 'unhealthy'): ObservedState => ({
  ...running,
  health: { status, failingStreak: 0 },
})
const exited = (exitCode: number, startedAt?: number): ObservedState => ({
  ...{ state: 'exited', run: 1, exitCode, startedAt, finishedAt: 2 },
})
const restarting: ObservedState = { state: 'restarting', run: 1, exitCode: 0, finishedAt: 1, retryAt: 2 }
const [WAITING, FAILED] = ['container.waiting', 'container.dependency-failed']

test.each([
  ['started', created, WAITING],
  ['started', running, undefined],
  ['started', restarting, undefined],
  ['started', exited(1, 1), undefined],
  ['started', exited(127), FAILED],
  ['healthy', created, WAITING],
  ['healthy', running, FAILED],
  ['healthy', health('starting'), WAITING],
  ['healthy', health('unhealthy'), WAITING],
  ['healthy', health('healthy'), undefined],
  ['healthy', restarting, WAITING],
  ['healthy', exited(0, 1), FAILED],
  ['completed', running, WAITING],
  ['completed', restarting, WAITING],
  ['completed', exited(0, 1), undefined],
  ['completed', exited(3, 1), FAILED],
  ['completed', undefined, FAILED],
] as const)('%s, and it is %j: %s', (condition, status, code) => {
  expect(unmetDependency([{ name: 'db', condition, status }])?.code).toBe(code)
})

test('what has failed is said before what is waited for, and all have to be met', () => {
  const db = { name: 'db', condition: 'healthy', status: health('starting') } as const
  const job = { name: 'job', condition: 'completed', status: exited(3, 1) } as const
  const up = { name: 'up', condition: 'started', status: running } as const
  expect(unmetDependency([db, job, up])).toMatchObject({ code: FAILED, facts: { dependency: 'job' } })
  expect(unmetDependency([up, db])).toMatchObject({ code: WAITING, facts: { dependency: 'db' } })
  expect(unmetDependency([up])).toBeUndefined()
  expect(unmetDependency()).toBeUndefined()
})
