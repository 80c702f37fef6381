import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ContainerGoal, DesiredContainer, RestartPolicy } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { unreachable } from '#shared/errors.ts'
import type { ContainerAction } from './actions.ts'
import { type ContainerFacts, NEW_RECORD } from './facts.ts'
import { planContainer } from './plan-container.ts'

const id = 'aaaaaaaaaaaaaaaa' as ContainerId

function wanted(goal: ContainerGoal, restart: RestartPolicy = { kind: 'no' }): DesiredContainer {
  return {
    ...{ id, name: 'c', generation: 1, goal },
    endpoint: { address: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1', mac: '02:42:0a:00:00:02' },
    spec: {
      ...{ image: 'i', imageDigest: `sha256:${'0'.repeat(64)}` as DesiredContainer['spec']['imageDigest'] },
      ...{ env: [], labels: {}, ports: [], restart, resources: {}, isReadOnly: false },
    },
  }
}

/** What the executors do, as far as the planner can see it. The process of this model never ends by itself. */
function apply(facts: ContainerFacts, action: ContainerAction, now: number): ContainerFacts {
  const { record } = facts
  const running = { state: 'running', pid: 1, startedAt: now } as const
  switch (action.kind) {
    case 'runContainer': {
      const { run, attempts, restarts } = action
      const begun = { run, attempts, restarts, signalSeq: Math.max(record.signalSeq, action.want.signal?.seq ?? 0) }
      return { process: running, isAttached: true, hasRemains: true, record: begun }
    }
    case 'prepareContainer':
      return { ...facts, hasRemains: true, record: { ...record, failure: undefined } }
    case 'startProcess':
      return { ...facts, process: running }
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
      return { process: { state: 'absent' }, isAttached: false, hasRemains: false, record: NEW_RECORD }
    default:
      return unreachable(action)
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
const facts: fc.Arbitrary<ContainerFacts> = fc.record({
  process: processes,
  isAttached: fc.boolean(),
  hasRemains: fc.constant(true),
  record: fc.record({
    ...{ run: fc.integer({ min: 0, max: 3 }), restarts: fc.nat(3), attempts: fc.nat(3), signalSeq: fc.nat(3) },
    stopSentAt: fc.option(time, { nil: undefined }),
  }),
})

/** Ends when nothing is to be done and nothing is waited for. */
function converge(want: DesiredContainer, start: ContainerFacts): ContainerFacts {
  let have = start
  let now = 100_000
  for (let step = 0; step < 12; step++) {
    const plan = planContainer(want, have, now)
    if (plan.actions.length === 0 && plan.lookAgainAt === undefined) return have
    expect(plan.actions.length > 0 || (plan.lookAgainAt ?? 0) > now, 'a wait is for a time to come').toBe(true)
    now = Math.max(now, plan.lookAgainAt ?? now)
    for (const action of plan.actions) have = apply(have, action, now)
  }
  throw new Error(`no convergence: ${JSON.stringify({ want: want.goal, have })}`)
}

describe('from whatever is there, the plan comes to an end', () => {
  test('and what was asked for is so', () => {
    fc.assert(
      fc.property(goals, policies, facts, (goal, policy, start) => {
        const { process, isAttached, record } = converge(wanted(goal, policy), start)
        if (goal.kind === 'removed') expect(process.state).toBe('absent')
        if (goal.kind === 'stopped') expect([process.state === 'running', isAttached]).toEqual([false, false])
        const mustRun = goal.kind === 'running' || goal.kind === 'paused'
        if (mustRun && record.run > start.record.run) expect(process.state).toBe(goal.kind)
      }),
      { numRuns: 2000 },
    )
  })

  test('and planning twice for the same gives the same', () => {
    fc.assert(
      fc.property(goals, policies, facts, time, (goal, policy, have, now) => {
        const want = wanted(goal, policy)
        expect(planContainer(want, have, now)).toEqual(planContainer(want, have, now))
      }),
    )
  })
})

describe('cases', () => {
  const exited = (exitCode: number, finishedAt = 1000): ContainerFacts => ({
    process: { state: 'exited', exitCode, startedAt: 900, finishedAt },
    ...{ isAttached: true, hasRemains: true, record: { ...NEW_RECORD, run: 1 } },
  })
  const goal: ContainerGoal = { kind: 'running', run: 1 }
  const kinds = (plan: ReturnType<typeof planContainer>) => plan.actions.map(({ kind }) => kind)

  test('a process that ended is left alone without a policy, and gives its network back', () => {
    expect(kinds(planContainer(wanted(goal), exited(1), 2000))).toEqual(['releaseContainer'])
  })

  test('on-failure leaves success alone', () => {
    const want = wanted(goal, { kind: 'on-failure' })
    expect(kinds(planContainer(want, exited(0), 2000))).toEqual(['releaseContainer'])
    expect(kinds(planContainer(want, exited(1), 2000))).toEqual(['runContainer'])
  })

  test('a restart waits for its back-off', () => {
    expect(planContainer(wanted(goal, { kind: 'always' }), exited(1), 1050)).toEqual({ actions: [], lookAgainAt: 1100 })
  })

  test('a stop becomes a kill after its time', () => {
    const have: ContainerFacts = {
      process: { state: 'running', pid: 1, startedAt: 0 },
      ...{ isAttached: true, hasRemains: true, record: { ...NEW_RECORD, run: 1, stopSentAt: 1000 } },
    }
    const want = wanted({ kind: 'stopped', run: 1, timeoutMs: 500 })
    expect(planContainer(want, have, 1200)).toEqual({ actions: [], lookAgainAt: 1500 })
    expect(planContainer(want, have, 1500).actions).toEqual([{ kind: 'sendStop', id, signal: 'SIGKILL' }])
  })

  test('a failure that cannot pass is not tried again', () => {
    const failure = { code: 'container.command-not-found', message: '', at: 0 } as const
    const have: ContainerFacts = {
      process: { state: 'absent' },
      ...{ isAttached: false, hasRemains: true, record: { ...NEW_RECORD, run: 1, failure } },
    }
    expect(planContainer(wanted(goal), have, 1e9)).toEqual({ actions: [] })
  })
})
