import type { DesiredContainer, ObservedState } from '#shared/domain/container.ts'
import type { ContainerFacts } from './facts.ts'
import { restartAt } from './plan-container.ts'

/** An exit code that nobody kept: the monitor was killed, or the machine went down. */
const UNKNOWN_EXIT = 137

/** What the agent reports of a container: a function of its facts. Pure. */
export function observedState(want: DesiredContainer, { process, hasRemains, record }: ContainerFacts): ObservedState {
  const { run, failure } = record
  switch (process.state) {
    case 'absent':
      if (want.goal.kind === 'removed') return hasRemains ? { state: 'removing' } : { state: 'absent' }
      if (failure && failure.retryAt === undefined) {
        const exitCode = failure.code === 'container.command-not-found' ? 127 : 125
        const error = { code: failure.code, message: failure.message }
        return { state: 'exited', run, exitCode, finishedAt: failure.at, error }
      }
      return failure
        ? { state: 'created', error: { code: failure.code, message: failure.message } }
        : { state: 'created' }
    case 'created':
      return { state: 'created' }
    case 'running':
    case 'paused':
      return { state: process.state, run, pid: process.pid, startedAt: process.startedAt }
    case 'exited': {
      const exitCode = process.exitCode ?? UNKNOWN_EXIT
      const { startedAt, finishedAt } = process
      const isLiveGoal = want.goal.kind === 'running' || want.goal.kind === 'paused'
      const retryAt = isLiveGoal ? restartAt(want, process, record.attempts) : undefined
      if (retryAt !== undefined) return { state: 'restarting', run, exitCode, finishedAt, retryAt }
      return { state: 'exited', run, exitCode, startedAt, finishedAt }
    }
  }
}
