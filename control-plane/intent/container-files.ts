import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import type { Ports } from '../ports.ts'
import { linesOf, streamFromHost } from './host-stream.ts'

/** What a container changed, as `{"items": [FileChange…]}` in pieces of text. Errors: those of `streamFromHost`. */
export async function* containerChanges(
  ports: Ports,
  hostId: HostId,
  containerId: ContainerId,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  let separator = '{"items":['
  for await (const lines of linesOf(streamFromHost(ports, hostId, { kind: 'changes', containerId }, signal))) {
    yield separator + lines.join(',')
    separator = ','
  }
  yield separator === ',' ? ']}' : `${separator}]}`
}

/** A container's filesystem as a tar. Errors: those of `streamFromHost`. */
export function containerTar(
  ports: Ports,
  hostId: HostId,
  containerId: ContainerId,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  return streamFromHost(ports, hostId, { kind: 'export', containerId }, signal)
}
