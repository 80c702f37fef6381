import type { ObservedContainer, ObservedState } from '#shared/domain/container.ts'

export interface Transition {
  type: string
  data: Record<string, unknown>
}

/** The event that a change of a container's observed state is, named as Docker names its events; undefined for none. Pure. */
export function containerTransition(before: ObservedState | null, seen: ObservedContainer): Transition | undefined {
  const { status } = seen
  const isSameRun = before && 'run' in before && 'run' in status && before.run === status.run
  if (before?.state === status.state && (isSameRun || !('run' in status))) return undefined
  switch (status.state) {
    case 'running':
      return { type: before?.state === 'paused' && isSameRun ? 'container.unpause' : 'container.start', data: {} }
    case 'paused':
      return { type: 'container.pause', data: {} }
    case 'restarting':
    case 'exited':
      return { type: 'container.die', data: { exitCode: status.exitCode } }
    case 'absent':
      return { type: 'container.destroy', data: {} }
    case 'dead':
      return { type: 'container.dead', data: { code: status.error.code } }
    case 'created':
      return status.error ? { type: 'container.delayed', data: { code: status.error.code } } : undefined
    default:
      return undefined
  }
}
