import { durationMs } from '#shared/domain/duration.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { keptBytesOf } from '#shared/domain/size.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { PruneOrder } from '#shared/protocol/bus.ts'
import { type PrunedHost, type PruneHost, prunedHostSchema } from '#shared/protocol/prune-host.ts'
import type { Ports } from '../ports.ts'
import { linesOf, streamFromHost } from './host-stream.ts'

const PATIENCE_MS = 5 * 60_000

/**
 * Has a host give up now what it can fetch or make again. An order over the bus and no desired state: what is lost or
 * repeated does no harm. Errors: those of `streamFromHost`, `request.timeout` after five minutes, when it goes on by itself.
 */
export async function pruneHost(ports: Ports, hostId: HostId, asked: PruneHost): Promise<PrunedHost> {
  const { images, buildCache, unusedFor, keepBytes } = asked
  const order: PruneOrder = {
    ...{ kind: 'prune', images, buildCache, unusedForMs: unusedFor === undefined ? 0 : durationMs(unusedFor) },
    keepBytes: keptBytesOf(keepBytes),
  }
  const answer = streamFromHost(ports, hostId, order, AbortSignal.timeout(PATIENCE_MS))
  for await (const [line = ''] of linesOf(answer)) return prunedHostSchema.parse(JSON.parse(line))
  throw new SlipwayError('request.timeout', 'The host still removes what was asked for: look at its disk in a while.')
}
