import type { Endpoint } from '#shared/domain/container.ts'
import { IDS } from '../host/userns.ts'

/** Above everything that distributions, systemd and others give away (systemd's UIDS-GIDS.md). */
const FIRST = 0xc0000000

/**
 * The first id on the host of a container with a range of its own. It follows from the address, as all that may clash on a host is
 * allocated by the API: no two containers of a host have the same one at once. Pure.
 */
export function firstIdOf({ address }: Pick<Endpoint, 'address'>): number {
  const [, , third = 0, last = 0] = address.split('.').map(Number)
  return FIRST + ((third % 64) * 256 + last) * IDS
}
