import {
  type ContainerGoal,
  type ContainerSpec,
  DEFAULT_STOP,
  type DesiredContainer,
  type StopOrder,
} from '#shared/domain/container.ts'
import type { ContainerAction, ContainerPlan } from './actions.ts'
import { unmetDependency } from './dependencies.ts'
import { type ContainerFacts, type Failure, isStale } from './facts.ts'
import { planAdoption } from './live-spec.ts'
import { attemptsAfter, restartDelayMs, restarts } from './restart.ts'
import { effectiveGoal } from './revival.ts'
import { type RunEnd, runEnd } from './run-end.ts'

type RunGoal = Extract<ContainerGoal, { kind: 'running' | 'paused' }>
type Begin = (attempts: number, count: number) => ContainerPlan

const CONVERGED: ContainerPlan = { actions: [] }
/** Those who read a container's files are waited for, and nobody tells when they leave. */
const READERS_LOOK_MS = 500
/** They ring when they change; this is for the case that they do not. */
const DEPENDENCIES_LOOK_MS = 5000
const act = (...actions: ContainerAction[]): ContainerPlan => ({ actions })

/**
 * What to do for one container: a function of what it should be, what is there and the time. An empty plan means
 * converged, or waiting until `lookAgainAt`. Pure.
 */
export function planContainer(want: DesiredContainer, have: ContainerFacts, now: number): ContainerPlan {
  if (want.goal.kind !== 'removed' && isOutOfMemoryNews(have)) return act({ kind: 'noteOutOfMemory', id: want.id })
  const goal = effectiveGoal(want, have)
  switch (goal.kind) {
    case 'removed':
      return have.process.state === 'absent' && !have.hasRemains
        ? CONVERGED
        : act({ kind: 'removeContainer', id: want.id })
    case 'created':
      return planCreate(want, have, now)
    case 'stopped':
      return planEnd(want, goal, have, now)
    case 'running':
    case 'paused':
      return planRun(want, goal, have, now)
  }
}

function isOutOfMemoryNews({ process, record }: ContainerFacts): boolean {
  return process.state === 'exited' && process.isOutOfMemory === true && !record.failure && !record.isOutOfMemory
}

function planCreate(want: DesiredContainer, have: ContainerFacts, now: number): ContainerPlan {
  const failure = isStale(want.spec, have.record) ? undefined : have.record.failure // Of what it was before, otherwise.
  if (have.hasRemains && !failure && !isStale(want.spec, have.record)) return CONVERGED
  return (
    afterFailure(failure, now, CONVERGED) ??
    withImage(want, have, now, onceUnread(want, have, now, act({ kind: 'prepareContainer', want })))
  )
}

/** Brings the process to an end: asked first, killed when its time is over. A signal ordered meanwhile still goes to it. */
function planEnd(want: DesiredContainer, order: StopOrder, have: ContainerFacts, now: number): ContainerPlan {
  const { id } = want
  const { process, record } = have
  const kill: ContainerAction = { kind: 'sendStop', id, signal: 'SIGKILL' }
  switch (process.state) {
    case 'absent':
    case 'exited':
      return stayed(want, have, now)
    case 'created':
      return act(kill)
    case 'paused': // A frozen process gets no signal.
      return act({ kind: 'resumeProcess', id }, { kind: 'sendStop', id, signal: stopSignal(order) })
    case 'running': {
      if (record.stopSentAt === undefined) return act({ kind: 'sendStop', id, signal: stopSignal(order) })
      const killAt = record.stopSentAt + order.timeoutMs
      return now >= killAt ? act(kill) : (pendingSignal(want, have) ?? { actions: [], lookAgainAt: killAt })
    }
  }
}

/** What stays ended has no files of what it was before an update. */
function stayed(want: DesiredContainer, have: ContainerFacts, now: number): ContainerPlan {
  const { spec, id } = want
  const plan = ended(id, have)
  const isOld = isStale(spec, have.record) && have.hasRemains
  if (plan.actions.length > 0 || !isOld) return plan
  return onceUnread(want, have, now, act({ kind: 'resetContainer', id, revision: spec.revision ?? 0 }))
}

/** For a run that was asked for: what a policy starts again waits for nobody. */
function onceMet({ dependencies }: ContainerFacts, now: number, then: ContainerPlan): ContainerPlan {
  return unmetDependency(dependencies) ? { actions: [], lookAgainAt: now + DEPENDENCIES_LOOK_MS } : then
}

/** For what takes the files of a container that was updated. */
function onceUnread(want: DesiredContainer, have: ContainerFacts, now: number, then: ContainerPlan): ContainerPlan {
  const isAwaited = have.isRead && isStale(want.spec, have.record)
  return isAwaited ? { actions: [], lookAgainAt: now + READERS_LOOK_MS } : then
}

function ownStop({ stopTimeoutMs = DEFAULT_STOP.timeoutMs }: ContainerSpec): StopOrder {
  return { timeoutMs: stopTimeoutMs }
}

/** Empty: its own, or the image's stop signal, which the executor knows. */
function stopSignal(order: StopOrder): string {
  return order.signal ?? (order.timeoutMs === 0 ? 'SIGKILL' : '')
}

function pendingSignal({ id, signal }: DesiredContainer, { record }: ContainerFacts): ContainerPlan | undefined {
  if (!signal || signal.seq <= record.signalSeq) return undefined
  return act({ kind: 'sendSignal', id, signal: signal.signal, seq: signal.seq })
}

function planRun(want: DesiredContainer, goal: RunGoal, have: ContainerFacts, now: number): ContainerPlan {
  const { id } = want
  const { process, record } = have
  const begin: Begin = (attempts, count) =>
    act({ kind: 'runContainer', want, run: goal.run, attempts, restarts: count })
  const isOver = process.state === 'absent' || process.state === 'exited'
  if (record.run < goal.run) {
    const end = (goal.kind === 'running' ? goal.endPrevious : undefined) ?? ownStop(want.spec)
    return planNext(want, goal, have, now, isOver ? onceMet(have, now, begin(0, 0)) : planEnd(want, end, have, now))
  }
  if (record.failure || isOver) return planBegin(want, have, now, begin)
  switch (process.state) {
    case 'created':
      return act({ kind: 'startProcess', id })
    case 'paused':
      if (goal.kind !== 'paused' && !have.isHeld) return act({ kind: 'resumeProcess', id })
      return planAdoption(want, have, now) ?? CONVERGED
    case 'running':
      if (goal.kind === 'paused') return act({ kind: 'pauseProcess', id })
      return pendingSignal(want, have) ?? planAdoption(want, have, now) ?? CONVERGED
  }
}

/**
 * Another run was asked for: an earlier one ends first, with the time it was given; then the new one begins. What an update
 * replaces goes on until the new image is here and nobody reads its files: neither is downtime.
 */
function planNext(
  want: DesiredContainer,
  goal: RunGoal,
  have: ContainerFacts,
  now: number,
  next: ContainerPlan,
): ContainerPlan {
  const { process, record } = have
  const isOver = process.state === 'absent' || process.state === 'exited'
  const isUpdate = isStale(want.spec, record) && record.stopSentAt === undefined
  if (!isOver && !isUpdate) return next
  // Ordered of the run before: the next one gets none of it.
  const signal = process.state === 'running' ? pendingSignal(want, have) : undefined
  if (signal) return signal
  const plan = withImage(want, have, now, onceUnread(want, have, now, next))
  if (!isUpdate || plan === next || plan.actions.length > 0) return plan
  return sooner(planReplaced(want, goal, have, now), plan)
}

/** What an update is to replace, as it was begun: it is paused, and started again by its own policy, as if there were none. */
function planReplaced(want: DesiredContainer, goal: RunGoal, have: ContainerFacts, now: number): ContainerPlan {
  const { replaced, record } = have
  if (!replaced) return CONVERGED
  return planRun(
    { ...want, spec: replaced },
    { ...goal, run: record.run },
    { ...have, image: { state: 'present' } },
    now,
  )
}

/** What one says, and a look at the earlier time of both. */
function sooner(
  { actions, lookAgainAt: one = Infinity }: ContainerPlan,
  { lookAgainAt: other = Infinity }: ContainerPlan,
) {
  const lookAgainAt = Math.min(one, other)
  return lookAgainAt === Infinity ? { actions } : { actions, lookAgainAt }
}

/** The present run has ended, or could not be begun. */
function planBegin(want: DesiredContainer, have: ContainerFacts, now: number, begin: Begin): ContainerPlan {
  const { record } = have
  const end = runEnd(have)
  if (end) return planRestart(want, end, have, now, begin)
  return (
    afterFailure(record.failure, now, released(want.id, have)) ??
    withImage(want, have, now, begin(record.attempts, record.restarts))
  )
}

function planRestart(
  want: DesiredContainer,
  end: RunEnd,
  have: ContainerFacts,
  now: number,
  begin: Begin,
): ContainerPlan {
  const { record } = have
  if (end.finishedAt === undefined) return ended(want.id, have)
  const retryAt = restartAt(want, end, record.attempts)
  if (retryAt === undefined) return released(want.id, have)
  if (now < retryAt) return { actions: [], lookAgainAt: retryAt }
  const attempts = attemptsAfter(record.attempts, end.startedAt, end.finishedAt)
  return withImage(want, have, now, begin(attempts + 1, record.restarts + 1))
}

/** When an ended container is to be started again by its policy; undefined for never. */
export function restartAt(want: DesiredContainer, end: RunEnd, recordedAttempts: number): number | undefined {
  if (end.finishedAt === undefined) return undefined
  const attempts = attemptsAfter(recordedAttempts, end.startedAt, end.finishedAt)
  if (!restarts(want.spec.restart, end.exitCode, attempts)) return undefined
  return end.finishedAt + restartDelayMs(attempts)
}

/** A run that has ended needs no network: its ports are free for others. An end that nobody saw is noted, to tell when. */
function ended(id: DesiredContainer['id'], have: ContainerFacts): ContainerPlan {
  if (have.isAttached) return released(id, have)
  const end = runEnd(have)
  return end && end.finishedAt === undefined ? act({ kind: 'noteEnd', id }) : CONVERGED
}

function released(id: DesiredContainer['id'], { isAttached }: ContainerFacts): ContainerPlan {
  return isAttached ? act({ kind: 'releaseContainer', id }) : CONVERGED
}

/** Does what needs the image, or fetches that first: in the background, so that the container can be stopped meanwhile. */
function withImage(want: DesiredContainer, { image }: ContainerFacts, now: number, then: ContainerPlan): ContainerPlan {
  switch (image.state) {
    case 'present':
      return then
    case 'fetching':
      return CONVERGED
    case 'absent':
      return act({ kind: 'fetchImage', want })
    case 'failed':
      return afterFailure(image.failure, now, CONVERGED) ?? act({ kind: 'fetchImage', want })
  }
}

/** What failed waits for the end of its back-off; what failed for good stays as it is. Undefined: it is time to try. */
function afterFailure(failure: Failure | undefined, now: number, forGood: ContainerPlan): ContainerPlan | undefined {
  if (!failure) return undefined
  if (failure.retryAt === undefined) return forGood
  return now >= failure.retryAt ? undefined : { actions: [], lookAgainAt: failure.retryAt }
}
