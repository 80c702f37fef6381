import type { ContainerId } from '#shared/domain/ids.ts'
import { ERRORS, SlipwayError } from '#shared/errors.ts'
import type { ContainerView, WaitState } from '#shared/protocol/containers.ts'
import type { Ports } from '../ports.ts'
import { type ContainerRow, findContainerById } from '../store/containers.ts'
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
    const found = await findContainerById(ports.db, id)
    if (!found) return { done: undefined }
    const view = viewContainer(ports, found)
    if (state === 'running' || state === 'healthy') refuseIfHopeless(found.container)
    if (state === 'healthy') refuseIfUnchecked(found.container)
    return isReached(found.container, state) ? { done: view } : { now: view.state, why: view.error?.message }
  }
  return waitFor<ContainerView | undefined>(ports, { kind: 'container', id, timeoutMs, look })
}

/** A start that only somebody else's doing can help, such as a port that another program holds: no use in waiting for it. */
function refuseIfHopeless({ id, observed, generation, observedGeneration }: ContainerRow): void {
  if (observed?.state !== 'created' || !observed.error || observedGeneration < generation) return
  const { code, message, facts } = observed.error
  if (ERRORS[code].status >= 500) return
  throw new SlipwayError(code, message, { facts: { ...facts, container: id } })
}

function refuseIfUnchecked({ name, observed, generation, observedGeneration }: ContainerRow): void {
  if (observed?.state !== 'running' || observed.health || observedGeneration < generation) return
  const message = `Container ${name} has no health check, so nobody knows: give it one, or wait for running.`
  throw new SlipwayError('container.health-check-missing', message)
}

/** Only what was observed for the present goal counts: before that, the agent has not seen the order. Pure. */
export function isReached({ observed, goal, generation, observedGeneration }: ContainerRow, state: WaitState): boolean {
  if (state === 'removed') return false // Gone is when there is no row.
  // What is removed after its end has come to it, whatever its host is told next.
  if (goal.kind === 'removed' && observed?.state === 'exited') return state !== 'created'
  if (!observed || observedGeneration < generation) return false
  if (state === 'created') return true
  // The run before may still be ending, or its end be the last that was seen.
  const isLiveGoal = goal.kind === 'running' || goal.kind === 'paused'
  if (isLiveGoal && 'run' in observed && observed.run < goal.run) return false
  const hasEnded = observed.state === 'exited' || observed.state === 'dead'
  if (state === 'exited' || state === 'stopped') {
    return hasEnded || (observed.state === 'created' && goal.kind !== 'running' && !observed.error)
  }
  // Unhealthy is an answer, too: nobody knows whether it will ever be anything else.
  if (state === 'healthy') return hasEnded || (observed.state === 'running' && observed.health?.status !== 'starting')
  return observed.state === state || hasEnded
}
