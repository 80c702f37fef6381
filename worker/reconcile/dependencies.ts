import type { ObservedState } from '#shared/domain/container.ts'
import type { Dependency } from '#shared/domain/container-life.ts'
import { type Fault, unreachable } from '#shared/errors.ts'

/** Another container that one waits for before it begins. */
export interface DependencyFacts extends Pick<Dependency, 'condition'> {
  name: string
  /** Undefined: it was removed. */
  status: ObservedState | undefined
}

/** `failed` is no end: should somebody start the other one again, it is looked at again. */
type Verdict = { is: 'met' } | { is: 'waiting' | 'failed'; why: string }

const MET: Verdict = { is: 'met' }

/** Why a container cannot begin yet, or undefined when it can. What has failed is said before what is waited for. Pure. */
export function unmetDependency(dependencies: readonly DependencyFacts[] = []): Fault | undefined {
  const verdicts = dependencies.map(one => ({ ...one, verdict: verdictOf(one) }))
  for (const is of ['failed', 'waiting'] as const) {
    for (const { name, condition, verdict } of verdicts) {
      if (verdict.is !== is) continue
      const code = is === 'failed' ? 'container.dependency-failed' : 'container.waiting'
      const message = `It begins once ${name} is ${condition}: ${name} ${verdict.why}.`
      return { code, message, facts: { dependency: name, condition } }
    }
  }
  return undefined
}

function verdictOf({ condition, status }: DependencyFacts): Verdict {
  if (!status) return { is: 'failed', why: 'was removed' }
  switch (condition) {
    case 'started':
      return started(status)
    case 'healthy':
      return healthy(status)
    case 'completed':
      return completed(status)
    default:
      return unreachable(condition)
  }
}

function started(status: ObservedState): Verdict {
  switch (status.state) {
    case 'running':
    case 'paused':
    case 'restarting':
      return MET
    case 'exited':
      return status.startedAt === undefined ? { is: 'failed', why: `could not start (${status.exitCode})` } : MET
    default:
      return { is: 'waiting', why: `is ${status.state}` }
  }
}

function healthy(status: ObservedState): Verdict {
  switch (status.state) {
    case 'running':
    case 'paused':
      if (!status.health) return { is: 'failed', why: 'has no health check' }
      return status.health.status === 'healthy' ? MET : { is: 'waiting', why: `is ${status.health.status}` }
    case 'exited':
      return { is: 'failed', why: `has ended (${status.exitCode})` }
    default:
      return { is: 'waiting', why: `is ${status.state}` }
  }
}

function completed(status: ObservedState): Verdict {
  if (status.state !== 'exited') return { is: 'waiting', why: `is ${status.state}` }
  return status.exitCode === 0 ? MET : { is: 'failed', why: `has ended with ${status.exitCode}` }
}
