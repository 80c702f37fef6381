import type { ObservedContainer, ObservedState } from '#shared/domain/container.ts'
import type { ContainerHealth } from '#shared/domain/health.ts'

export interface Transition {
  type: string
  data: Record<string, unknown>
}

/**
 * The events that a change of a container's observed state is, named as Docker names its events. A run that ended before
 * anyone saw it run began all the same. Pure.
 */
export function containerTransitions(before: ObservedState | null, seen: ObservedContainer): Transition[] {
  const { status } = seen
  const failureOf = (state: ObservedState | null) => (state?.state === 'running' ? state.error?.code : undefined)
  const isSameRun = before !== null && 'run' in before && 'run' in status && before.run === status.run
  const code = failureOf(status)
  const isDelayed = code !== undefined && code !== failureOf(before)
  const delayed: Transition[] = isDelayed ? [{ type: 'container.delayed', data: { code } }] : []
  const wasHealth = isSameRun ? healthOf(before)?.status : undefined
  const health = healthTransition(wasHealth, healthOf(status))
  if (before?.state === status.state && (isSameRun || !('run' in status))) return [...delayed, ...health]
  const began: Transition[] = isSameRun ? [] : [...endBefore(before, seen), { type: 'container.start', data: {} }]
  switch (status.state) {
    case 'running':
      return before?.state === 'paused' && isSameRun
        ? [{ type: 'container.unpause', data: {} }, ...health]
        : [...began, ...health]
    case 'paused':
      return [...began, { type: 'container.pause', data: {} }]
    case 'restarting':
      return [...began, ...died(status)]
    case 'exited':
      return [...(status.startedAt === undefined ? [] : began), ...died(status)]
    case 'absent':
      return [{ type: 'container.destroy', data: {} }]
    case 'dead':
      return [{ type: 'container.dead', data: { code: status.error.code } }]
    case 'created':
      return status.error ? [{ type: 'container.delayed', data: { code: status.error.code } }] : []
    default:
      return []
  }
}

/** The end of a run that was seen alive, where another one followed before anyone saw it. */
function endBefore(before: ObservedState | null, { lastEnd }: ObservedContainer): Transition[] {
  const wasAlive = before?.state === 'running' || before?.state === 'paused'
  return wasAlive && lastEnd && before.run <= lastEnd.run ? died(lastEnd) : []
}

type Ended = Pick<Extract<ObservedState, { state: 'exited' }>, 'exitCode' | 'isOutOfMemory' | 'error'>

/** With the reason, where there is one: whoever waits may find nothing else once the container is gone. */
function died({ exitCode, isOutOfMemory, error }: Ended): Transition[] {
  const data = {
    exitCode,
    ...(isOutOfMemory ? { oomKilled: true } : {}),
    ...(error ? { error: error.code, message: error.message } : {}),
  }
  const oom: Transition[] = isOutOfMemory ? [{ type: 'container.oom', data: {} }] : []
  return [...oom, { type: 'container.die', data }]
}

const healthOf = (state: ObservedState | null) => (state && 'health' in state ? state.health : undefined)

function healthTransition(before: string | undefined, health: ContainerHealth | undefined): Transition[] {
  if (!health || health.status === 'starting' || health.status === before) return []
  return [{ type: `container.${health.status}`, data: { failingStreak: health.failingStreak } }]
}
