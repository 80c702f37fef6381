import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { type HealthLog, healthLogSchema } from '#shared/protocol/container-life.ts'
import type { Ports } from '../ports.ts'
import { linesOf, streamFromHost } from './host-stream.ts'

/** The last checks of a container, from its host. Errors: those of `streamFromHost`, `container.health-check-missing`. */
export async function containerHealth(
  ports: Ports,
  hostId: HostId,
  containerId: ContainerId,
  signal: AbortSignal,
): Promise<HealthLog> {
  for await (const [line] of linesOf(streamFromHost(ports, hostId, { kind: 'health', containerId }, signal))) {
    if (line) return healthLogSchema.parse(JSON.parse(line))
  }
  throw new SlipwayError('host.unreachable', 'The host ended its answer before it said anything: ask again.')
}
