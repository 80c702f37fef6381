import { BUILDS_AT_ONCE, leastFreeBytes } from '#shared/domain/host.ts'
import type { BuildRow } from '../store/builds.ts'
import type { HostRow } from '../store/hosts.ts'
import { isReady } from './place.ts'

export interface HostInQueue {
  host: Pick<HostRow, 'id' | 'name' | 'observedAt' | 'observedFacts'>
  /** Builds that it took and that are not over. */
  builds: number
}

type Waiting = Pick<BuildRow, 'state' | 'hostId' | 'claim' | 'placement'>

/** Why a build has not begun, in a sentence that says what would help. Undefined: it has begun, or is over. Pure. */
export function whyWaiting(
  { state, hostId, claim, placement }: Waiting,
  hosts: readonly HostInQueue[],
  now: number,
): string | undefined {
  if (state !== 'queued') return undefined
  const only = placement.host ?? hostId
  const asked = hosts.filter(({ host }) => only === undefined || only === null || host.id === only)
  const ready = asked.filter(({ host }) => isReady(host.observedAt, now))
  if (ready.length === 0) {
    const [named] = only ? asked : []
    return named
      ? `host ${named.host.name} is not ready: see that its agent runs`
      : 'no host is ready: see that an agent runs'
  }
  const labels = Object.entries(placement.labels ?? {})
  const labelled = ready.filter(({ host }) =>
    labels.every(([key, value]) => host.observedFacts?.labels?.[key] === value),
  )
  if (labelled.length === 0) {
    return `no ready host has ${labels.map(([key, value]) => `${key}=${value}`).join(' and ')} (SLIPWAY_LABELS of its agent)`
  }
  const { architecture } = placement
  const fitting = labelled.filter(({ host }) => !architecture || host.observedFacts?.architecture === architecture)
  if (fitting.length === 0) return `no ready host that fits is of linux/${architecture}`
  if (hostId !== null && claim !== null) return 'a host is about to begin it'
  return whyNotTaken(fitting, hostId)
}

/** Of hosts that fit and are ready. */
function whyNotTaken(fitting: readonly HostInQueue[], only: HostRow['id'] | null): string {
  const atOnce = ({ host }: HostInQueue) => host.observedFacts?.buildsAtOnce ?? BUILDS_AT_ONCE
  const builders = fitting.filter(one => atOnce(one) > 0)
  if (builders.length === 0) return 'no host that fits takes builds (SLIPWAY_BUILDS_AT_ONCE of its agent is 0)'
  const free = builders.filter(one => atOnce(one) > one.builds)
  if (free.length === 0) return 'all hosts that fit are at work on other builds'
  // What a host was given by name it begins all the same.
  if (only === null && free.every(isDiskFull)) return 'the disks of all hosts that fit and have time are full'
  return 'a host is about to take it'
}

function isDiskFull({ host: { observedFacts } }: HostInQueue): boolean {
  return observedFacts !== null && observedFacts.diskFreeBytes < leastFreeBytes(observedFacts.diskBytes)
}
