import type { ObservedContainer, ObservedState } from '#shared/domain/container.ts'

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
  if (before?.state === status.state && (isSameRun || !('run' in status))) return delayed
  const began: Transition[] = isSameRun ? [] : [{ type: 'container.start', data: {} }]
  switch (status.state) {
    case 'running':
      return before?.state === 'paused' && isSameRun ? [{ type: 'container.unpause', data: {} }] : began
    case 'paused':
      return [...began, { type: 'container.pause', data: {} }]
    case 'restarting':
      return [...began, died(status.exitCode)]
    case 'exited':
      return [...(status.startedAt === undefined ? [] : began), died(status.exitCode)]
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

function died(exitCode: number): Transition {
  return { type: 'container.die', data: { exitCode } }
}
