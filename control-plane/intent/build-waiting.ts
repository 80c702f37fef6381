import { BUILDS_AT_ONCE } from '#shared/domain/host.ts'
import type { BuildRow } from '../store/builds.ts'
import type { HostRow } from '../store/hosts.ts'
import { isReady } from './place.ts'

export interface HostInQueue {
  host: Pick<HostRow, 'id' | 'name' | 'observedAt' | 'observedFacts'>
  /** Unfinished builds that it has. */
  builds: number
}

type Waiting = Pick<BuildRow, 'state' | 'hostId' | 'placement'>

/** Why a build has not begun, in a sentence that says what would help. Undefined: it has begun, or is over. Pure. */
export function whyWaiting(
  { state, hostId, placement }: Waiting,
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
  const room = ({ host, builds }: HostInQueue) => (host.observedFacts?.buildsAtOnce ?? BUILDS_AT_ONCE) > builds
  if (hostId === null && !fitting.some(room)) return 'all hosts that fit are at work on other builds'
  return 'a host is about to take it'
}
