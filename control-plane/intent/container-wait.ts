import type { ContainerId } from '#shared/domain/ids.ts'
import type { ContainerView, WaitState } from '#shared/protocol/containers.ts'
import type { Ports } from '../ports.ts'
import { type ContainerRow, findContainer } from '../store/containers.ts'
import { viewContainer } from './container-view.ts'
import { waitFor } from './wait.ts'

/**
 * The container once it is in a state, or has ended so that it cannot come there; undefined once it is gone.
 * Errors: `request.timeout`.
 */
export function awaitContainer(
  ports: Ports,
  id: ContainerId,
  state: WaitState,
  timeoutMs: number,
): Promise<ContainerView | undefined> {
  const look = async () => {
    const found = await findContainer(ports.db, id)
    if (!found) return { done: undefined }
    const view = viewContainer(ports, found)
    return isReached(found.container, state) ? { done: view } : { now: view.state }
  }
  return waitFor<ContainerView | undefined>(ports, { kind: 'container', id, timeoutMs, look })
}

/** Only what was observed for the present goal counts: before that, the agent has not seen the order. Pure. */
export function isReached({ observed, goal, generation, observedGeneration }: ContainerRow, state: WaitState): boolean {
  if (state === 'removed') return false // Gone is when there is no row.
  if (!observed || observedGeneration < generation) return false
  const hasEnded = observed.state === 'exited' || observed.state === 'dead'
  if (state === 'exited' || state === 'stopped') {
    return hasEnded || (observed.state === 'created' && goal.kind !== 'running' && !observed.error)
  }
  return observed.state === state || hasEnded
}
