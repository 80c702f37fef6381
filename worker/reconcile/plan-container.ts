import type { ContainerGoal, DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerAction, ContainerPlan } from './actions.ts'
import type { ContainerFacts } from './facts.ts'
import { attemptsAfter, restartDelayMs, restarts } from './restart.ts'

type Ended = Extract<ContainerFacts['process'], { state: 'exited' }>

const CONVERGED: ContainerPlan = { actions: [] }
const act = (...actions: ContainerAction[]): ContainerPlan => ({ actions })

/**
 * What to do for one container: a function of what it should be, what is there and the time. An empty plan means
 * converged, or waiting until `lookAgainAt`. Pure.
 */
export function planContainer(want: DesiredContainer, have: ContainerFacts, now: number): ContainerPlan {
  switch (want.goal.kind) {
    case 'removed':
      return have.process.state === 'absent' && !have.hasRemains
        ? CONVERGED
        : act({ kind: 'removeContainer', id: want.id })
    case 'created':
      return have.hasRemains ? CONVERGED : retryLater(have, now, { kind: 'prepareContainer', want })
    case 'stopped':
      return planStop(want, want.goal, have, now)
    case 'running':
    case 'paused':
      return planRun(want, want.goal, have, now)
  }
}

function planStop(
  want: DesiredContainer,
  goal: Extract<ContainerGoal, { kind: 'stopped' }>,
  have: ContainerFacts,
  now: number,
): ContainerPlan {
  const { id } = want
  const { process, record } = have
  switch (process.state) {
    case 'absent':
    case 'exited':
      return release(id, have)
    case 'created':
      return act({ kind: 'sendStop', id, signal: 'SIGKILL' })
    case 'paused': // A frozen process gets no signal.
      return act({ kind: 'resumeProcess', id }, { kind: 'sendStop', id, signal: stopSignal(goal) })
    case 'running': {
      if (record.stopSentAt === undefined) return act({ kind: 'sendStop', id, signal: stopSignal(goal) })
      const killAt = record.stopSentAt + goal.timeoutMs
      return now >= killAt ? act({ kind: 'sendStop', id, signal: 'SIGKILL' }) : { actions: [], lookAgainAt: killAt }
    }
  }
}

/** Empty: the image's own stop signal, which the executor knows. */
function stopSignal(goal: { signal?: string | undefined; timeoutMs: number }): string {
  return goal.signal ?? (goal.timeoutMs === 0 ? 'SIGKILL' : '')
}

function planRun(
  want: DesiredContainer,
  goal: Extract<ContainerGoal, { kind: 'running' | 'paused' }>,
  have: ContainerFacts,
  now: number,
): ContainerPlan {
  const { id } = want
  const { process, record } = have
  const begin = (attempts: number, count: number): ContainerAction => ({
    ...{ kind: 'runContainer', want, run: goal.run, attempts, restarts: count },
  })
  if (record.run < goal.run && (process.state === 'absent' || process.state === 'exited')) return act(begin(0, 0))
  switch (process.state) {
    case 'absent':
      return retryLater(have, now, begin(record.attempts, record.restarts))
    case 'created':
      return act({ kind: 'startProcess', id })
    case 'paused':
      return goal.kind === 'paused' ? CONVERGED : act({ kind: 'resumeProcess', id })
    case 'running':
      // An older run that was told to stop ends first; then the new one begins.
      if (record.run < goal.run) return act({ kind: 'sendStop', id, signal: 'SIGKILL' })
      if (goal.kind === 'paused') return act({ kind: 'pauseProcess', id })
      return want.signal && want.signal.seq > record.signalSeq
        ? act({ kind: 'sendSignal', id, signal: want.signal.signal, seq: want.signal.seq })
        : CONVERGED
    case 'exited':
      return planRestart(want, process, have, now, begin)
  }
}

function planRestart(
  want: DesiredContainer,
  ended: Ended,
  have: ContainerFacts,
  now: number,
  begin: (attempts: number, count: number) => ContainerAction,
): ContainerPlan {
  const { record } = have
  const retryAt = restartAt(want, ended, record.attempts)
  if (retryAt === undefined) return release(want.id, have)
  const attempts = attemptsAfter(record.attempts, ended.startedAt, ended.finishedAt)
  return now >= retryAt ? act(begin(attempts + 1, record.restarts + 1)) : { actions: [], lookAgainAt: retryAt }
}

/** When an ended container is to be started again by its policy; undefined for never. */
export function restartAt(want: DesiredContainer, ended: Ended, recordedAttempts: number): number | undefined {
  const attempts = attemptsAfter(recordedAttempts, ended.startedAt, ended.finishedAt)
  if (!restarts(want.spec.restart, ended.exitCode, attempts)) return undefined
  return ended.finishedAt + restartDelayMs(attempts)
}

/** A run that has ended for good needs no network: its ports are free for others. */
function release(id: DesiredContainer['id'], { isAttached }: ContainerFacts): ContainerPlan {
  return isAttached ? act({ kind: 'releaseContainer', id }) : CONVERGED
}

/** Begins what failed before once its back-off is over; what failed for good stays as it is. */
function retryLater({ record }: ContainerFacts, now: number, action: ContainerAction): ContainerPlan {
  const { failure } = record
  if (!failure) return act(action)
  if (failure.retryAt === undefined) return CONVERGED
  return now >= failure.retryAt ? act(action) : { actions: [], lookAgainAt: failure.retryAt }
}
