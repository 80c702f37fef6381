import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { isLocalHost, isMetadataAddress } from '#shared/domain/local-host.ts'
import { SlipwayError } from '#shared/errors.ts'

/**
 * Where a fetch may lead: `public` is the Internet alone; `private` private networks and this machine, too, which is for servers
 * that the request itself names. Addresses at which clouds keep the keys of their machines are for nobody.
 */
export type Reach = 'public' | 'private'

export interface Address {
  address: string
  family: number
}

/** Of a name, all its addresses. */
export type Resolve = (name: string) => Promise<Address[]>

const systemResolve: Resolve = name => lookup(name, { all: true })

/**
 * The addresses of a server that may be connected to: who connects takes one of these and asks for no other, since a name may
 * lead elsewhere the next moment. `host` as URLs have it. Errors: `source.refused`, `source.fetch-failed` for a name without any.
 */
export async function addressesWithin(
  host: string,
  reach: Reach,
  resolve: Resolve = systemResolve,
): Promise<[Address, ...Address[]]> {
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  const family = isIP(bare)
  const all = family === 0 ? await resolved(bare, resolve) : [{ address: bare, family }]
  const [first, ...others] = all.filter(one => isWithin(one, reach))
  if (first) return [first, ...others]
  const why = reach === 'public' ? 'on a private network' : 'at an address that no build reaches'
  throw new SlipwayError('source.refused', `${host} is ${why}, where it is not followed: name a server that is public.`)
}

export const isLocal = ({ address, family }: Address) => isLocalHost(family === 6 ? `[${address}]` : address)

function isWithin(one: Address, reach: Reach): boolean {
  return !isMetadataAddress(one.address) && (reach === 'private' || !isLocal(one))
}

async function resolved(name: string, resolve: Resolve): Promise<Address[]> {
  try {
    return await resolve(name)
  } catch (cause) {
    throw new SlipwayError('source.fetch-failed', `${name} has no address: see whether its name is right.`, { cause })
  }
}
