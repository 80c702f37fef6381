import type { DesiredBuild } from '#shared/domain/build.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { DesiredState } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { type BuildRow, changedBuilds, openBuildsOf } from '../store/builds.ts'
import { changedContainers } from '../store/containers.ts'
import { findHost } from '../store/hosts.ts'
import { endpointOf, hostSubnet } from './addresses.ts'

/**
 * What a host should hold: all of it, or what changed after `since`; undefined when nothing did. A removed container
 * stays in here until its host says that nothing of it is left. Costs the host's changed rows.
 */
export async function desiredState(
  ports: Ports,
  hostId: HostId,
  since: number | undefined,
): Promise<DesiredState | undefined> {
  const host = await findHost(ports.db, hostId)
  if (!host) throw new SlipwayError('host.not-found', 'This host was removed: stop its agent.')
  if (since === host.generation) return undefined
  // A host that knows more than we do talks to a restored store: it gets everything.
  const isFull = since === undefined || since > host.generation
  const from = isFull ? -1 : since
  const pool = ports.config.addressPool
  // Read after the generation: rows newer than it come again with the next delta, which does no harm.
  const [containers, builds, openBuilds] = await Promise.all([
    changedContainers(ports.db, hostId, from),
    changedBuilds(ports.db, hostId, from),
    openBuildsOf(ports.db, hostId),
  ])
  return {
    hostId,
    generation: host.generation,
    isFull,
    network: hostSubnet(pool, host.subnetIndex),
    containers: containers.map(({ id, name, generation, spec, goal, signal, addressIndex }) => ({
      id,
      name,
      generation,
      spec,
      goal,
      signal: signal ?? undefined,
      endpoint: endpointOf(pool, host.subnetIndex, addressIndex),
    })),
    builds: builds.map(desiredBuild),
    openBuilds,
  }
}

/** A build as its host is told it. */
export function desiredBuild({ id, generation, goal, spec, limits }: BuildRow): DesiredBuild {
  return { id, generation, goal, spec, limits }
}
