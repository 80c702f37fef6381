import type { ContainerSpec, DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerPlan } from './actions.ts'
import { type ContainerFacts, type Failure, isStale } from './facts.ts'

/** What can change in a run that goes on: its limits, and what decides about its end. */

/** The same for the same limits. */
export function limitsKey({ resources: { memoryBytes, cpus, pids } }: ContainerSpec): string {
  return JSON.stringify([memoryBytes, cpus, pids])
}

function liveKey(spec: ContainerSpec): string {
  const { restart, keepForMs, stopSignal, stopTimeoutMs, isAutoRemoved } = spec
  const maxRetries = restart.kind === 'on-failure' ? restart.maxRetries : undefined
  return JSON.stringify([
    limitsKey(spec),
    restart.kind,
    maxRetries,
    keepForMs,
    stopSignal,
    stopTimeoutMs,
    isAutoRemoved,
  ])
}

/** What to do for a run that goes on and whose spec changed; undefined: nothing. Pure. */
export function planAdoption(want: DesiredContainer, have: ContainerFacts, now: number): ContainerPlan | undefined {
  const { record } = have
  if (!record.spec || isStale(want.spec, record) || liveKey(record.spec) === liveKey(want.spec)) return undefined
  const failure = limitsFailure(want, have)
  if (failure && failure.retryAt === undefined) return undefined
  if (failure?.retryAt !== undefined && now < failure.retryAt) return { actions: [], lookAgainAt: failure.retryAt }
  return { actions: [{ kind: 'adoptSpec', want }] }
}

/** Why the limits that are asked for now do not hold. Pure. */
export function limitsFailure({ spec }: DesiredContainer, { record }: ContainerFacts): Failure | undefined {
  return record.limitsFailure?.limits === limitsKey(spec) ? record.limitsFailure : undefined
}
