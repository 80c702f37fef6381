import type { BuildSpec } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import type { Ports } from '../ports.ts'
import { type BuildOnHost, type BuildRow, findBuild } from '../store/builds.ts'
import { hostsWithBuilds } from '../store/hosts.ts'
import { whyWaiting } from './build-waiting.ts'
import { iso } from './container-view.ts'

/** Errors: `build.not-found`. */
export async function requireBuild(ports: Ports, id: string): Promise<BuildOnHost> {
  const found = await findBuild(ports.db, id)
  if (found) return found
  throw new SlipwayError('build.not-found', `There is no build ${id}. GET /v1/builds lists them.`)
}

export function isFinished(state: string): boolean {
  return state !== 'queued' && state !== 'running'
}

/** Behind a build's name, for one that is over. */
export function howItEnded(state: BuildRow['state']): string {
  return state === 'canceled' ? 'was canceled' : `has ${state}`
}

/** Builds as people see them; `hosts` are asked for where one waits. Costs a row a host then. */
export async function viewBuilds(ports: Ports, found: readonly BuildOnHost[]): Promise<BuildView[]> {
  const hosts = found.some(({ build }) => build.state === 'queued') ? await hostsWithBuilds(ports.db) : []
  return found.map(one => viewBuild(one, whyWaiting(one.build, hosts, ports.clock.now())))
}

/** Errors: `build.not-found`. */
export async function inspectBuild(ports: Ports, id: string): Promise<BuildView> {
  const [view] = await viewBuilds(ports, [await requireBuild(ports, id)])
  if (view) return view
  throw new SlipwayError('internal', `Build ${id} has no view.`)
}

function viewBuild({ build, host }: BuildOnHost, waiting: string | undefined): BuildView {
  const { spec } = build
  return {
    id: build.id,
    state: build.state,
    host: host ? { id: host.id, name: host.name } : undefined,
    waiting,
    attempts: build.attempts,
    limits: build.limits,
    constraints: build.placement.labels,
    platform: build.placement.architecture && `linux/${build.placement.architecture}`,
    kind: spec.kind,
    ...viewSource(spec),
    commit: build.observedCommit ?? undefined,
    dockerfile: spec.kind === 'dockerfile' ? spec.dockerfile : undefined,
    target: spec.kind === 'dockerfile' ? spec.target : undefined,
    container: spec.kind === 'container' ? spec.container.id : undefined,
    check: (spec.kind === 'dockerfile' && spec.check) || undefined,
    tags: spec.tags,
    trigger: build.trigger ?? undefined,
    imageDigest: build.imageDigest ?? undefined,
    updates: build.updates ?? undefined,
    warnings: build.observedWarnings ?? undefined,
    attestations: build.observedAttestations ?? undefined,
    error: build.observedError ?? undefined,
    createdAt: iso(build.createdAt),
    startedAt: build.observedStartedAt ? iso(build.observedStartedAt) : undefined,
    finishedAt: build.observedFinishedAt ? iso(build.observedFinishedAt) : undefined,
  }
}

function viewSource(spec: BuildSpec): Pick<BuildView, 'context' | 'git' | 'url'> {
  if (spec.kind === 'container') return {}
  if (spec.kind === 'tar') return { context: spec.contextId }
  const { kind, ...source } = spec.source
  if ('contextId' in source) {
    const { contextId, over } = source
    return { context: over === undefined ? contextId : [contextId, ...over] }
  }
  return { [kind]: source }
}
