import type { z } from 'zod'
import type { ContainerId } from '#shared/domain/ids.ts'
import { isErrorCode } from '#shared/errors.ts'
import type { ContainerView, waitForContainerQuerySchema, waitForContainerSchema } from '#shared/protocol/containers.ts'
import type { Ports } from '../ports.ts'
import { lastEnd } from '../store/container-life.ts'
import { findContainerById } from '../store/containers.ts'
import { lastEventSeq } from '../store/events.ts'
import { viewContainer } from './container-view.ts'
import { awaitContainer } from './container-wait.ts'
import { waitFor } from './wait.ts'

export type EndCondition = z.infer<typeof waitForContainerQuerySchema>['condition']
export type End = z.infer<typeof waitForContainerSchema>

/** How a container ended, once the condition holds (Docker's). Errors: `request.timeout`. */
export async function awaitEnd(
  ports: Ports,
  id: ContainerId,
  condition: EndCondition,
  timeoutMs: number,
): Promise<End> {
  if (condition === 'next-exit') return awaitNextEnd(ports, id, timeoutMs)
  const view = await awaitContainer(ports, id, condition === 'removed' ? 'removed' : 'exited', timeoutMs)
  return view ? endOf(view) : endOfRemoved(ports, id, 0)
}

/** Each end is an event, so that one is seen after which the container was started again at once. */
async function awaitNextEnd(ports: Ports, id: ContainerId, timeoutMs: number): Promise<End> {
  const after = await lastEventSeq(ports.db)
  const look = async () => {
    const found = await findContainerById(ports.db, id) // Before the event: what is gone has all of its events.
    const ended = await lastEnd(ports.db, id, after)
    if (!found) return { done: { state: 'removed', ...readEnd(ended?.data) } }
    const { state } = viewContainer(ports, found)
    return ended ? { done: { state, ...readEnd(ended.data) } } : { now: state }
  }
  return waitFor<End>(ports, { kind: 'container', id, timeoutMs, look })
}

/** Of a container whose row is gone. */
export async function endOfRemoved(ports: Ports, id: ContainerId, afterSeq: number): Promise<End> {
  return { state: 'removed', ...readEnd((await lastEnd(ports.db, id, afterSeq))?.data) }
}

function endOf({ state, exitCode, oomKilled, error }: ContainerView): End {
  return { state, exitCode, oomKilled, error }
}

/** As `ingest/transitions.ts` writes it. */
function readEnd(data: Record<string, unknown> = {}): Omit<End, 'state'> {
  const { exitCode, oomKilled, error, message } = data
  return {
    exitCode: typeof exitCode === 'number' ? exitCode : undefined,
    oomKilled: oomKilled === true ? true : undefined,
    error: isErrorCode(error) && typeof message === 'string' ? { code: error, message } : undefined,
  }
}
