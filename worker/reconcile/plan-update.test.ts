import { expect, test } from 'vitest'
import type { ContainerGoal, DesiredContainer } from '#shared/domain/container.ts'
import { PLANNED_ID, RUNNING, wanted } from '#test/support/planned-container.ts'
import { type ContainerFacts, NEW_RECORD } from './facts.ts'
import { planContainer } from './plan-container.ts'
import { observedState } from './status.ts'

/** Updates of a container in place; `plan-container.test.ts` has their properties. */

const absent: ContainerFacts = { ...RUNNING, process: { state: 'absent' }, isAttached: false }
const exited: ContainerFacts = {
  ...{ ...absent, process: { state: 'exited', exitCode: 0, startedAt: 900, finishedAt: 1000 } },
  record: { ...NEW_RECORD, run: 1 },
}
const failure = { code: 'host.unreachable', message: '', at: 1000, tries: 1, retryAt: 2000 } as const
const failedImage = { state: 'failed', failure } as const
const kinds = (plan: ReturnType<typeof planContainer>) => plan.actions.map(({ kind }) => kind)

const next: ContainerGoal = { kind: 'running', run: 2, endPrevious: { timeoutMs: 5000 } }
const update = wanted(next, { revision: 1 })
const stopped = wanted({ kind: 'stopped', run: 1, timeoutMs: 0 }, { revision: 1 })
const created = wanted({ kind: 'created' }, { revision: 1 })

test('ends what runs once the new image is here', () => {
  expect(kinds(planContainer(update, { ...RUNNING, image: { state: 'absent' } }, 0))).toEqual(['fetchImage'])
  expect(planContainer(update, { ...RUNNING, image: { state: 'fetching' } }, 0)).toEqual({ actions: [] })
  expect(planContainer(update, RUNNING, 0).actions).toEqual([{ kind: 'sendStop', id: PLANNED_ID, signal: '' }])
  const stopping: ContainerFacts = { ...RUNNING, record: { ...RUNNING.record, stopSentAt: 1000 } }
  expect(planContainer(update, { ...stopping, image: { state: 'absent' } }, 6000).actions).toMatchObject([
    { kind: 'sendStop', signal: 'SIGKILL' },
  ])
  expect(planContainer(update, exited, 0).actions).toMatchObject([{ kind: 'runContainer', run: 2 }])
})

test('that cannot have its image says so, and what runs goes on', () => {
  const have: ContainerFacts = { ...RUNNING, image: failedImage }
  expect(planContainer(update, have, 1500)).toEqual({ actions: [], lookAgainAt: 2000 })
  const error = { code: 'host.unreachable' }
  expect(observedState(update, have)).toMatchObject({ state: 'running', run: 1, error })
  expect(observedState(wanted({ kind: 'running', run: 1 }), RUNNING)).not.toHaveProperty('error')
})

test('of what stays down takes its files', () => {
  expect(planContainer(stopped, exited, 0).actions).toEqual([{ kind: 'resetContainer', id: PLANNED_ID, revision: 1 }])
  expect(kinds(planContainer(created, { ...absent, record: NEW_RECORD }, 0))).toEqual(['prepareContainer'])
})

test('waits for those who read the files that it takes, while what runs goes on', () => {
  const soon = { actions: [], lookAgainAt: 1500 }
  const paused: ContainerFacts = { ...RUNNING, process: { state: 'paused', pid: 1, startedAt: 0 }, isHeld: true }
  for (const have of [RUNNING, paused, exited])
    expect(planContainer(update, { ...have, isRead: true }, 1000)).toEqual(soon)
  expect(planContainer(stopped, { ...exited, isRead: true }, 1000)).toEqual(soon)
  expect(planContainer(created, { ...absent, record: NEW_RECORD, isRead: true }, 1000)).toEqual(soon)
  const again = wanted(next)
  expect(kinds(planContainer(again, { ...RUNNING, isRead: true }, 1000))).toEqual(['sendStop'])
})

test('lets what goes on have its signals until then', () => {
  const signaled: DesiredContainer = { ...update, signal: { seq: 1, signal: 'SIGHUP' } }
  const sent = [{ kind: 'sendSignal', id: PLANNED_ID, signal: 'SIGHUP', seq: 1 }]
  for (const image of [{ state: 'absent' }, { state: 'fetching' }, failedImage, { state: 'present' }] as const)
    expect(planContainer(signaled, { ...RUNNING, image }, 1500).actions).toEqual(sent)
  expect(planContainer(signaled, { ...RUNNING, isRead: true }, 1500).actions).toEqual(sent)
  const paused: ContainerFacts = { ...RUNNING, process: { state: 'paused', pid: 1, startedAt: 0 } }
  expect(kinds(planContainer(signaled, paused, 1500))).toEqual(['resumeProcess', 'sendStop'])
  const told: ContainerFacts = { ...RUNNING, record: { ...RUNNING.record, signalSeq: 1 } }
  expect(kinds(planContainer(signaled, told, 1500))).toEqual(['sendStop'])
})

test('that cannot have its image: what it is to replace is started again as it was, by its own policy', () => {
  const replaced = wanted(next, { restart: { kind: 'always' } }).spec
  const have: ContainerFacts = { ...exited, image: failedImage, replaced }
  expect(planContainer(update, have, 1050)).toEqual({ actions: [], lookAgainAt: 1100 })
  expect(observedState(update, have)).toMatchObject({ state: 'restarting', run: 1, exitCode: 0, retryAt: 1100 })
  const begun = { kind: 'runContainer', run: 1, attempts: 1, restarts: 1, want: { spec: replaced } }
  for (const image of [{ state: 'fetching' }, failedImage] as const)
    expect(planContainer(update, { ...have, image }, 1500).actions).toMatchObject([begun])
  expect(planContainer(update, { ...have, isRead: true, image: { state: 'present' } }, 1500).actions).toMatchObject([
    begun,
  ])
  expect(kinds(planContainer(update, have, 2000))).toEqual(['fetchImage'])
  const rebooted: ContainerFacts = { ...absent, image: failedImage, replaced }
  expect(kinds(planContainer(update, rebooted, 1500))).toEqual(['noteEnd'])
  const noted: ContainerFacts = { ...rebooted, record: { ...rebooted.record, endedAt: 1000 } }
  expect(planContainer(update, noted, 1500).actions).toMatchObject([begun])
})

test.each<[string, Partial<ContainerFacts>]>([
  ['whose policy says no', { replaced: wanted(next).spec }],
  [
    'that was told to stop',
    { replaced: wanted(next, { restart: { kind: 'always' } }).spec, record: { ...exited.record, stopSentAt: 900 } },
  ],
  ['whose image is gone', {}],
])('nor is what ended begun again %s', (_, change) => {
  const have: ContainerFacts = { ...exited, image: failedImage, ...change }
  expect(planContainer(update, have, 1500)).toEqual({ actions: [], lookAgainAt: 2000 })
  expect(observedState(update, have)).toMatchObject({ state: 'created', error: { code: 'host.unreachable' } })
})
