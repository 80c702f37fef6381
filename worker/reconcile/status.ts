import type { ContainerSpec, DesiredContainer, ObservedState } from '#shared/domain/container.ts'
import type { ErrorCode, Fault } from '#shared/errors.ts'
import { unmetDependency } from './dependencies.ts'
import { type ContainerFacts, type Failure, isStale } from './facts.ts'
import { healthOf } from './health.ts'
import { limitsFailure } from './live-spec.ts'
import { restartAt } from './plan-container.ts'
import { effectiveGoal } from './revival.ts'
import { type RunEnd, runEnd, UNKNOWN_EXIT } from './run-end.ts'

/** As a shell and Docker have them; 125 is a start that failed before the command. */
const START_EXITS: Partial<Record<ErrorCode, number>> = {
  'container.command-not-found': 127,
  'container.command-not-executable': 126,
}

/** What the agent reports of a container: a function of its facts. Pure. */
export function observedState(desired: DesiredContainer, have: ContainerFacts): ObservedState {
  const want = { ...desired, goal: effectiveGoal(desired, have) }
  const { process, hasRemains, record, image } = have
  const run = Math.max(record.run, 'run' in want.goal ? want.goal.run : 0)
  if (want.goal.kind === 'removed' && process.state === 'absent')
    return hasRemains ? { state: 'removing' } : { state: 'absent' }
  const end = runEnd(have)
  const isLive = process.state === 'running' || process.state === 'paused'
  const failure = record.failure ?? (image.state === 'failed' ? image.failure : undefined)
  if (end && have.replaced && record.run < run && record.stopSentAt === undefined) {
    const said = endedState({ ...want, spec: have.replaced }, end, have)
    if (said.state === 'restarting') return said
  }
  const unmet = record.run < run && !isLive && !failure ? unmetDependency(have.dependencies) : undefined
  if (unmet) return { state: 'created', error: unmet }
  // A start that cannot have its image is the newer story than the end of the run before.
  if (end && !(failure && record.run < run)) return endedState(want, end, have)
  // Of what is to be stopped, nothing is tried again.
  if (failure?.retryAt !== undefined && want.goal.kind === 'stopped') return { state: 'created' }
  // An update that cannot have its image: what it is to replace goes on.
  const goesOn = isLive && !record.failure && isStale(want.spec, record)
  if (failure && !goesOn) return failedState(run, failure)
  const trouble = failure ?? limitsFailure(want, have)
  if (process.state === 'running' || process.state === 'paused')
    return {
      ...{ state: process.state, run: record.run, pid: process.pid, startedAt: process.startedAt },
      ...(trouble ? { error: { code: trouble.code, message: trouble.message } } : {}),
      ...(have.health ? { health: healthOf(have.health) } : {}),
    }
  return { state: 'created' }
}

/** A failure that may pass waits as `created`; one that cannot is the end. */
function failedState(run: number, { code, message, at, retryAt }: Failure): ObservedState {
  const error = { code, message }
  if (retryAt !== undefined) return { state: 'created', error }
  return { state: 'exited', run, exitCode: START_EXITS[code] ?? 125, finishedAt: at, error }
}

function endedState({ goal, ...want }: DesiredContainer, end: RunEnd, have: ContainerFacts): ObservedState {
  const { record } = have
  const { run } = record
  const exitCode = end.exitCode ?? UNKNOWN_EXIT
  const finishedAt = end.finishedAt ?? end.startedAt ?? 0 // Noted, and so known, before anything is reported.
  const isLiveGoal = goal.kind === 'running' || goal.kind === 'paused'
  const retryAt = isLiveGoal ? restartAt({ goal, ...want }, end, record.attempts) : undefined
  const ended = { run, exitCode, finishedAt, ...(end.isOutOfMemory ? { isOutOfMemory: true } : {}) }
  if (retryAt !== undefined) return { state: 'restarting', ...ended, retryAt }
  const error = end.isOutOfMemory && exitCode !== 0 ? { error: outOfMemory(record.spec ?? want.spec) } : {}
  return { state: 'exited', ...ended, startedAt: end.startedAt, ...error }
}

function outOfMemory({ resources: { memoryBytes } }: ContainerSpec): Fault {
  const why = memoryBytes === undefined ? 'its host has none left' : `it may have ${memoryBytes} bytes`
  const message = `The kernel killed processes of it for its memory: ${why}. Give it more, or have it take less.`
  return { code: 'container.memory-exceeded', message }
}
