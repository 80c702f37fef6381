import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ContainerGoal, DesiredContainer, RestartPolicy } from '#shared/domain/container.ts'
import { unreachable } from '#shared/errors.ts'
import { PLANNED_ID, wanted } from '#test/support/planned-container.ts'
import type { ContainerAction } from './actions.ts'
import { type ContainerFacts, type Failure, NEW_RECORD } from './facts.ts'
import { planContainer } from './plan-container.ts'
import { observedState } from './status.ts'

/** What a run comes to: the agent may die after each of its steps, or one of them may fail. */
const OUTCOMES = ['runs', 'fails', 'fails for good', 'agent dies at the record', 'agent dies before the start'] as const
type Outcome = (typeof OUTCOMES)[number]

/** What the executors do, as far as the planner can see it. The process of this model never ends by itself. */
function apply(facts: ContainerFacts, action: ContainerAction, now: number, outcome: Outcome = 'runs'): ContainerFacts {
  const { record } = facts
  const running = { state: 'running', pid: 1, startedAt: now } as const
  switch (action.kind) {
    case 'fetchImage':
      return { ...facts, image: outcome === 'fails' ? failedImage(now) : { state: 'present' } }
    case 'runContainer':
      return applyRun(facts, action, now, outcome)
    case 'noteEnd':
      return { ...facts, record: { ...record, endedAt: now } }
    case 'noteOutOfMemory':
      return { ...facts, record: { ...record, isOutOfMemory: true } }
    case 'adoptSpec':
      return { ...facts, record: { ...record, spec: action.want.spec } }
    case 'prepareContainer':
      return outcome === 'fails'
        ? { ...facts, hasRemains: true, record: { ...record, ...updatedBy(action.want), failure: failureAt(now) } }
        : { ...facts, hasRemains: true, record: { ...record, ...updatedBy(action.want), failure: undefined } }
    case 'resetContainer':
      return { ...facts, isAttached: false, record: { ...record, revision: action.revision, failure: undefined } }
    case 'startProcess':
      return { ...facts, process: running, record: { ...record, begunAt: now } }
    case 'sendStop': {
      const isKill = action.signal === 'SIGKILL'
      const ended = { state: 'exited', exitCode: 137, startedAt: now, finishedAt: now } as const
      return { ...facts, process: isKill ? ended : facts.process, record: { ...record, stopSentAt: now } }
    }
    case 'sendSignal':
      return { ...facts, record: { ...record, signalSeq: action.seq } }
    case 'pauseProcess':
      return { ...facts, process: { ...running, state: 'paused' } }
    case 'resumeProcess':
      return { ...facts, process: running }
    case 'releaseContainer':
      return { ...facts, isAttached: false }
    case 'removeContainer':
      return { ...facts, process: { state: 'absent' }, isAttached: false, hasRemains: false, record: NEW_RECORD }
    default:
      return unreachable(action)
  }
}

const updatedBy = ({ spec }: DesiredContainer) => ({ revision: spec.revision })
const failureAt = (now: number): Failure => ({ code: 'internal', message: '', at: now, tries: 1, retryAt: now + 1000 })
const failedImage = (now: number) => ({ state: 'failed', failure: failureAt(now) }) as const

function applyRun(
  facts: ContainerFacts,
  { run, attempts, restarts, want }: Extract<ContainerAction, { kind: 'runContainer' }>,
  now: number,
  outcome: Outcome,
): ContainerFacts {
  const signalSeq = Math.max(facts.record.signalSeq, want.signal?.seq ?? 0)
  const begun = { ...updatedBy(want), run, attempts, restarts, signalSeq }
  const nothing: ContainerFacts = { ...facts, process: { state: 'absent' }, hasRemains: true, record: begun }
  const { retryAt: _, ...final } = failureAt(now)
  switch (outcome) {
    case 'runs':
      return {
        ...{ ...nothing, process: { state: 'running', pid: 1, startedAt: now }, isAttached: true },
        record: { ...begun, begunAt: now },
      }
    case 'fails': // Perhaps with the old process undeleted.
      return { ...nothing, process: facts.process, isAttached: false, record: { ...begun, failure: failureAt(now) } }
    case 'fails for good':
      return { ...nothing, isAttached: false, record: { ...begun, failure: final } }
    case 'agent dies at the record':
      return nothing
    case 'agent dies before the start':
      return { ...nothing, process: { state: 'created', pid: 1 }, isAttached: true }
  }
}

const time = fc.integer({ min: 0, max: 100_000 })
const run = fc.integer({ min: 1, max: 3 })
const goals: fc.Arbitrary<ContainerGoal> = fc.oneof(
  fc.constant({ kind: 'created' } as const),
  fc.record({ kind: fc.constantFrom('running' as const, 'paused' as const), run }),
  fc.record({ kind: fc.constant('stopped' as const), run, timeoutMs: fc.constantFrom(0, 1000, 10_000) }),
  fc.record({ kind: fc.constant('removed' as const), isForced: fc.boolean() }),
)
const policies: fc.Arbitrary<RestartPolicy> = fc.oneof(
  fc.record({ kind: fc.constantFrom('no' as const, 'always' as const, 'unless-stopped' as const) }),
  fc.record({ kind: fc.constant('on-failure' as const), maxRetries: fc.integer({ min: 0, max: 3 }) }),
)
const processes: fc.Arbitrary<ContainerFacts['process']> = fc.oneof(
  fc.constant({ state: 'absent' } as const),
  fc.constant({ state: 'created', pid: 1 } as const),
  fc.record({ state: fc.constantFrom('running' as const, 'paused' as const), pid: fc.constant(1), startedAt: time }),
  fc.record({
    ...{ state: fc.constant('exited' as const), exitCode: fc.constantFrom(0, 1, undefined) },
    ...{ startedAt: fc.option(time, { nil: undefined }), finishedAt: time },
  }),
)
/** With the spec of the run that an update replaces, where its image is here. */
const replaced = fc.option(policies, { nil: undefined })
const facts: fc.Arbitrary<ContainerFacts> = fc
  .record({
    process: processes,
    isHeld: fc.constant(false),
    isRead: fc.constant(false),
    isAttached: fc.boolean(),
    hasRemains: fc.constant(true),
    image: fc.constantFrom({ state: 'present' } as const, { state: 'absent' } as const, failedImage(5000)),
    record: fc.record({
      ...{ begunAt: fc.option(time, { nil: undefined }), endedAt: fc.option(time, { nil: undefined }) },
      failure: fc.option(time.map(failureAt), { nil: undefined }),
      revision: fc.nat(1),
      ...{ run: fc.integer({ min: 0, max: 3 }), restarts: fc.nat(3), attempts: fc.nat(3), signalSeq: fc.nat(3) },
      stopSentAt: fc.option(time, { nil: undefined }),
    }),
  })
  .chain(found =>
    replaced.map(policy => {
      const { spec } = wanted({ kind: 'created' }, { restart: policy, revision: found.record.revision })
      return policy ? { ...found, replaced: spec } : found
    }),
  )

/** Ends when nothing is to be done and nothing is waited for. */
function converge(want: DesiredContainer, start: ContainerFacts, outcomes: readonly Outcome[] = []): ContainerFacts {
  const ahead = [...outcomes]
  let have = start
  let now = 100_000
  for (let step = 0; step < 24 + 6 * outcomes.length; step++) {
    const plan = planContainer(want, have, now)
    if (plan.actions.length === 0 && plan.lookAgainAt === undefined) return have
    expect(plan.actions.length > 0 || (plan.lookAgainAt ?? 0) > now, 'a wait is for a time to come').toBe(true)
    now = Math.max(now, plan.lookAgainAt ?? now)
    for (const action of plan.actions) {
      const isFallible = ['runContainer', 'prepareContainer', 'fetchImage'].includes(action.kind)
      have = apply(have, action, now, isFallible ? ahead.shift() : 'runs')
    }
  }
  throw new Error(`no convergence: ${JSON.stringify({ want: want.goal, have })}`)
}

describe('from whatever is there, the plan comes to an end', () => {
  test('and what was asked for is so', () => {
    fc.assert(
      fc.property(goals, policies, facts, (goal, policy, start) => {
        const { process, isAttached, record } = converge(wanted(goal, { restart: policy }), start)
        if (goal.kind === 'removed') expect(process.state).toBe('absent')
        if (goal.kind === 'stopped') expect([process.state === 'running', isAttached]).toEqual([false, false])
        const mustRun = goal.kind === 'running' || goal.kind === 'paused'
        if (mustRun && record.run > start.record.run) expect(process.state).toBe(goal.kind)
        if (goal.kind === 'created') expect(record.failure).toBeUndefined()
      }),
      { numRuns: 2000 },
    )
  })

  test('a start that was asked for comes, whatever fails and whenever the agent dies on the way; or says why not', () => {
    const outcomes = fc.array(fc.constantFrom(...OUTCOMES), { maxLength: 6 })
    fc.assert(
      fc.property(policies, facts, outcomes, (policy, start, ahead) => {
        const want = wanted({ kind: 'running', run: start.record.run + 1 }, { restart: policy })
        const end = converge(want, start, ahead)
        const said = observedState(want, end)
        expect(end.record.run).toBe(start.record.run + 1)
        if (end.record.failure)
          expect(said).toMatchObject({ state: 'exited', exitCode: 125, error: { code: 'internal' } })
        else expect(said.state).toBe('running')
      }),
      { numRuns: 2000 },
    )
  })

  test('an update is all of it in the end: what runs, and what stays down, has no files of what was before', () => {
    const outcomes = fc.array(fc.constantFrom(...OUTCOMES), { maxLength: 6 })
    fc.assert(
      fc.property(goals, policies, facts, outcomes, (goal, policy, start, ahead) => {
        fc.pre(goal.kind !== 'removed')
        // As the API has it: an update of what is to run is another run.
        const asked = 'run' in goal && goal.kind !== 'stopped' ? { ...goal, run: start.record.run + 1 } : goal
        const end = converge(wanted(asked, { restart: policy, revision: 2 }), start, ahead)
        expect(end.record.revision).toBe(2)
      }),
      { numRuns: 2000 },
    )
  })

  test('and planning twice for the same gives the same', () => {
    fc.assert(
      fc.property(goals, policies, facts, time, (goal, policy, have, now) => {
        const want = wanted(goal, { restart: policy })
        expect(planContainer(want, have, now)).toEqual(planContainer(want, have, now))
      }),
    )
  })
})

describe('cases', () => {
  const exited = (exitCode: number, finishedAt = 1000): ContainerFacts => ({
    process: { state: 'exited', exitCode, startedAt: 900, finishedAt },
    ...{
      isHeld: false,
      isRead: false,
      isAttached: true,
      hasRemains: true,
      image: { state: 'present' },
      record: { ...NEW_RECORD, run: 1 },
    },
  })
  const goal: ContainerGoal = { kind: 'running', run: 1 }
  const kinds = (plan: ReturnType<typeof planContainer>) => plan.actions.map(({ kind }) => kind)

  test('a process that ended is left alone without a policy, and gives its network back', () => {
    expect(kinds(planContainer(wanted(goal), exited(1), 2000))).toEqual(['releaseContainer'])
  })

  test('on-failure leaves success alone', () => {
    const want = wanted(goal, { restart: { kind: 'on-failure' } })
    expect(kinds(planContainer(want, exited(0), 2000))).toEqual(['releaseContainer'])
    expect(kinds(planContainer(want, exited(1), 2000))).toEqual(['runContainer'])
  })

  test('a restart waits for its back-off', () => {
    expect(planContainer(wanted(goal, { restart: { kind: 'always' } }), exited(1), 1050)).toEqual({
      actions: [],
      lookAgainAt: 1100,
    })
  })

  test('a container that stands still for a build is let go by a stop alone', () => {
    const have: ContainerFacts = { ...exited(0), process: { state: 'paused', pid: 1, startedAt: 0 }, isHeld: true }
    expect(kinds(planContainer(wanted(goal), have, 2000))).toEqual([])
    expect(kinds(planContainer(wanted(goal), { ...have, isHeld: false }, 2000))).toEqual(['resumeProcess'])
    const stop = wanted({ kind: 'stopped', run: 1, timeoutMs: 500 })
    expect(kinds(planContainer(stop, have, 2000))).toEqual(['resumeProcess', 'sendStop'])
  })

  test('a stop becomes a kill after its time', () => {
    const have: ContainerFacts = {
      process: { state: 'running', pid: 1, startedAt: 0 },
      ...{ isHeld: false, isRead: false, isAttached: true, hasRemains: true, image: { state: 'present' } },
      record: { ...NEW_RECORD, run: 1, stopSentAt: 1000 },
    }
    const want = wanted({ kind: 'stopped', run: 1, timeoutMs: 500 })
    expect(planContainer(want, have, 1200)).toEqual({ actions: [], lookAgainAt: 1500 })
    expect(planContainer(want, have, 1500).actions).toEqual([{ kind: 'sendStop', id: PLANNED_ID, signal: 'SIGKILL' }])
  })

  const absent: ContainerFacts = {
    ...{
      process: { state: 'absent' },
      image: { state: 'present' },
      isHeld: false,
      isRead: false,
      isAttached: false,
      hasRemains: true,
    },
    record: { ...NEW_RECORD, run: 1 },
  }
  const running: ContainerFacts = {
    ...{ ...absent, process: { state: 'running', pid: 1, startedAt: 0 }, isAttached: true },
    record: { ...NEW_RECORD, run: 1, begunAt: 0 },
  }

  test('a failure that cannot pass is not tried again', () => {
    const failure = { code: 'container.command-not-found', message: '', at: 0, tries: 1 } as const
    const have: ContainerFacts = { ...absent, record: { ...NEW_RECORD, run: 1, failure } }
    expect(planContainer(wanted(goal), have, 1e9)).toEqual({ actions: [] })
    expect(observedState(wanted(goal), have)).toMatchObject({ state: 'exited', exitCode: 127 })
    const cannot = { ...failure, code: 'container.command-not-executable' } as const
    expect(observedState(wanted(goal), { ...have, record: { ...have.record, failure: cannot } })).toMatchObject({
      exitCode: 126,
    })
  })

  test('a run that could not be begun is not the end of the one before: it waits and is tried again', () => {
    const record = { ...NEW_RECORD, run: 2, failure: failureAt(2000) }
    const have = { ...exited(1), record }
    const want = wanted({ kind: 'running', run: 2 })
    expect(planContainer(want, have, 2500)).toEqual({ actions: [], lookAgainAt: 3000 })
    expect(kinds(planContainer(want, have, 3000))).toEqual(['runContainer'])
    expect(observedState(want, have)).toEqual({ state: 'created', error: { code: 'internal', message: '' } })
    const stopped = wanted({ kind: 'stopped', run: 2, timeoutMs: 0 })
    expect(kinds(planContainer(stopped, have, 3000))).toEqual(['releaseContainer'])
    expect(observedState(stopped, have)).toEqual({ state: 'created' })
  })

  test('a restart that cannot be begun waits longer each time, and is not counted as a restart', () => {
    const record = { ...NEW_RECORD, run: 1, restarts: 4, attempts: 2, failure: failureAt(20_000) }
    const have: ContainerFacts = {
      ...{ ...exited(1), process: { state: 'exited', exitCode: 1, startedAt: 0, finishedAt: 15_000 }, record },
    }
    const want = wanted(goal, { restart: { kind: 'always' } })
    expect(planContainer(want, have, 20_500)).toEqual({ actions: [], lookAgainAt: 21_000 })
    expect(planContainer(want, have, 21_000).actions).toMatchObject([{ attempts: 2, restarts: 4 }])
  })

  test.each<[RestartPolicy, string | undefined]>([
    [{ kind: 'no' }, undefined],
    [{ kind: 'on-failure', maxRetries: 0 }, 'runContainer'],
    [{ kind: 'always' }, 'runContainer'],
    [{ kind: 'unless-stopped' }, 'runContainer'],
  ])('after a reboot, a run that was begun has ended: %j', (policy, next) => {
    const want = wanted(goal, { restart: policy })
    const lost: ContainerFacts = { ...absent, record: { ...NEW_RECORD, run: 1, begunAt: 1000 } }
    expect(kinds(planContainer(want, lost, 9000))).toEqual(['noteEnd'])
    const noted: ContainerFacts = { ...lost, record: { ...lost.record, endedAt: 9000 } }
    expect(kinds(planContainer(want, noted, 9999))).toEqual(next ? [next] : [])
    if (!next) expect(observedState(want, noted)).toMatchObject({ exitCode: 137, startedAt: 1000, finishedAt: 9000 })
    const stopped = wanted({ kind: 'stopped', run: 1, timeoutMs: 0 }, { restart: policy })
    expect(planContainer(stopped, noted, 9999)).toEqual({ actions: [] })
  })

  test('a start after a stop waits for the end of the earlier run, for as long as that was given', () => {
    const stopping: ContainerFacts = { ...running, record: { ...running.record, stopSentAt: 1000 } }
    const want = wanted({ kind: 'running', run: 2, endPrevious: { timeoutMs: 5000 } })
    expect(planContainer(want, stopping, 2000)).toEqual({ actions: [], lookAgainAt: 6000 })
    expect(planContainer(want, stopping, 6000).actions).toEqual([
      { kind: 'sendStop', id: PLANNED_ID, signal: 'SIGKILL' },
    ])
    const told = wanted({ kind: 'running', run: 2, endPrevious: { signal: 'SIGINT', timeoutMs: 5000 } })
    expect(planContainer(told, running, 2000).actions).toEqual([{ kind: 'sendStop', id: PLANNED_ID, signal: 'SIGINT' }])
  })

  test('what is being stopped still gets signals', () => {
    const stopping: ContainerFacts = { ...running, record: { ...running.record, stopSentAt: 1000 } }
    const want = { ...wanted({ kind: 'stopped', run: 1, timeoutMs: 9000 }), signal: { seq: 1, signal: 'SIGUSR1' } }
    expect(planContainer(want, stopping, 1500).actions).toEqual([
      { kind: 'sendSignal', id: PLANNED_ID, signal: 'SIGUSR1', seq: 1 },
    ])
  })

  test('a container that could not be made is made again', () => {
    const want = wanted({ kind: 'created' })
    const have: ContainerFacts = { ...absent, record: { ...NEW_RECORD, failure: failureAt(1000) } }
    expect(planContainer(want, have, 1500)).toEqual({ actions: [], lookAgainAt: 2000 })
    expect(kinds(planContainer(want, have, 2000))).toEqual(['prepareContainer'])
  })

  test('an image on its way is waited for without holding anything up', () => {
    const want = wanted(goal)
    expect(kinds(planContainer(want, { ...absent, image: { state: 'absent' } }, 0))).toEqual(['fetchImage'])
    const fetching: ContainerFacts = { ...absent, record: NEW_RECORD, image: { state: 'fetching' } }
    expect(planContainer(want, fetching, 0)).toEqual({ actions: [] })
    expect(observedState(want, fetching)).toEqual({ state: 'created' })
    expect(kinds(planContainer(wanted({ kind: 'removed', isForced: true }), fetching, 0))).toEqual(['removeContainer'])
    const failed: ContainerFacts = { ...fetching, image: failedImage(1000) }
    expect(planContainer(want, failed, 1500)).toEqual({ actions: [], lookAgainAt: 2000 })
    expect(kinds(planContainer(want, failed, 2000))).toEqual(['fetchImage'])
    expect(observedState(want, failed)).toMatchObject({ state: 'created', error: { code: 'internal' } })
  })
})
