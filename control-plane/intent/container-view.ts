import type { ContainerSpec, ObservedState } from '#shared/domain/container.ts'
import { formatDuration } from '#shared/domain/duration.ts'
import { formatPublishedPort } from '#shared/domain/port.ts'
import type { ContainerView } from '#shared/protocol/containers.ts'
import type { Ports } from '../ports.ts'
import type { ContainerOnHost, ContainerRow } from '../store/containers.ts'
import { endpointOf } from './addresses.ts'
import { formatRestartPolicy } from './container-spec.ts'
import { lifeOptionsOf } from './life-spec.ts'
import { isReady } from './place.ts'

/** A container as the API shows it. */
export function viewContainer(
  ports: Pick<Ports, 'clock' | 'config'>,
  { container, host }: ContainerOnHost,
): ContainerView {
  const { spec, goal, observed } = container
  const isHostReady = isReady(host.observedAt, ports.clock.now())
  return {
    id: container.id,
    name: container.name,
    image: spec.image,
    imageDigest: spec.imageDigest,
    host: { id: host.id, name: host.name, state: isHostReady ? 'ready' : 'unknown' },
    state: stateOf(container, isHostReady),
    desired: goal.kind,
    ...timesAndEnd(observed),
    restarts: container.observedRestarts,
    revision: spec.revision ?? 0,
    createdAt: iso(container.createdAt),
    address: endpointOf(ports.config.addressPool, host.subnetIndex, container.addressIndex).address,
    ports: spec.ports.map(formatPublishedPort),
    entrypoint: spec.entrypoint,
    command: spec.command,
    env: spec.env,
    workdir: spec.workdir,
    user: spec.user,
    labels: spec.labels,
    restart: formatRestartPolicy(spec.restart),
    hostname: spec.hostname,
    memory: spec.resources.memoryBytes,
    cpus: spec.resources.cpus,
    pidsLimit: spec.resources.pids,
    readOnly: spec.isReadOnly,
    tty: spec.tty ?? false,
    stdin: spec.stdin ?? false,
    ...furtherSettings(spec),
    keepFor: spec.keepForMs === undefined ? undefined : formatDuration(spec.keepForMs),
    ...lifeOptionsOf(spec),
    dependsOn: spec.dependsOn,
    size: sizeOf(container),
  }
}

/** A secret is a name here, too; a profile may be as long as everything else together. */
function furtherSettings({ resources, security = {} }: ContainerSpec) {
  const { memoryBytes: _memory, cpus: _cpus, pids: _pids, ...limits } = resources
  const { seccomp, ...confinement } = security
  return { ...limits, ...confinement, ...(seccomp ? { seccomp: profileName(seccomp) } : {}) }
}

function profileName(seccomp: NonNullable<NonNullable<ContainerSpec['security']>['seccomp']>) {
  return seccomp === 'unconfined' ? ('unconfined' as const) : ('custom' as const)
}

function sizeOf({ observedWritableBytes: writableBytes, observedVirtualBytes: virtualBytes }: ContainerRow) {
  return writableBytes === null || virtualBytes === null ? undefined : { writableBytes, virtualBytes }
}

/** What the agent saw, but for live containers of a host nobody heard of: nobody knows about those. */
export function stateOf(
  { observed, goal }: Pick<ContainerRow, 'observed' | 'goal'>,
  isHostReady: boolean,
): ContainerView['state'] {
  const isLive = observed && ['running', 'paused', 'restarting'].includes(observed.state)
  if (isLive && !isHostReady) return 'unknown'
  if (goal.kind === 'removed') return 'removing'
  // Nothing is left of it; its row goes in the same batch that said so.
  if (observed?.state === 'absent') return 'removing'
  return observed?.state ?? 'created'
}

function timesAndEnd(observed: ObservedState | null) {
  if (!observed) return {}
  return {
    exitCode: 'exitCode' in observed ? observed.exitCode : undefined,
    oomKilled: 'isOutOfMemory' in observed ? observed.isOutOfMemory : undefined,
    error: 'error' in observed ? observed.error : undefined,
    health: 'health' in observed ? observed.health : undefined,
    startedAt: 'startedAt' in observed && observed.startedAt ? iso(observed.startedAt) : undefined,
    finishedAt: 'finishedAt' in observed ? iso(observed.finishedAt) : undefined,
  }
}

export function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
