import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { type LogLine, type LogsOrder, logLineSchema } from '#shared/protocol/bus.ts'
import type { Ports } from '../ports.ts'
import { linesOf, streamFromHost } from './host-stream.ts'

export type LogsQuery = Omit<LogsOrder, 'kind' | 'containerId'>

/** The lines of a container's log as its host sends them. Errors: those of `streamFromHost`. */
export async function* containerLogs(
  ports: Ports,
  hostId: HostId,
  containerId: ContainerId,
  query: LogsQuery,
  signal: AbortSignal,
): AsyncGenerator<LogLine[], void> {
  const pieces = streamFromHost(ports, hostId, { kind: 'logs', containerId, ...query }, signal)
  for await (const lines of linesOf(pieces)) yield lines.map(line => logLineSchema.parse(JSON.parse(line)))
}
