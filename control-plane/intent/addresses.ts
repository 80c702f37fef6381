import { z } from 'zod'
import type { Endpoint } from '#shared/domain/container.ts'

/** The network of one host: a /24 of the pool. `.1` is the gateway, `.2` to `.239` containers, the rest builds. */
export interface HostSubnet {
  subnet: string
  gateway: string
  prefixLength: number
}

const PREFIX_LENGTH = 24

/** A pool that can be cut into subnets: its first address aligned to its prefix. */
export const addressPoolSchema = z.cidrv4().refine(pool => {
  const bits = Number(pool.split('/')[1])
  return bits <= PREFIX_LENGTH && poolBase(pool) % 2 ** (32 - bits) === 0
}, 'an IPv4 network such as 10.86.0.0/16: at most /24, and its first address')
export const FIRST_CONTAINER = 2
export const LAST_CONTAINER = 239

/** How many hosts a pool such as `10.86.0.0/16` has room for. */
export function poolSize(pool: string): number {
  return 2 ** (PREFIX_LENGTH - Number(pool.split('/')[1]))
}

export function hostSubnet(pool: string, subnetIndex: number): HostSubnet {
  const base = subnetBase(pool, subnetIndex)
  return { subnet: `${dotted(base)}/${PREFIX_LENGTH}`, gateway: dotted(base + 1), prefixLength: PREFIX_LENGTH }
}

/** A container's endpoint follows from two numbers; the MAC from the address, so that no neighbour has to be asked. */
export function endpointOf(pool: string, subnetIndex: number, addressIndex: number): Endpoint {
  const base = subnetBase(pool, subnetIndex)
  const address = dotted(base + addressIndex)
  const mac = `02:42:${address
    .split('.')
    .map(part => Number(part).toString(16).padStart(2, '0'))
    .join(':')}`
  return { address, prefixLength: PREFIX_LENGTH, gateway: dotted(base + 1), mac }
}

/** The lowest free position, undefined when the subnet is full. */
export function freeAddress(taken: ReadonlySet<number>): number | undefined {
  for (let index = FIRST_CONTAINER; index <= LAST_CONTAINER; index++) if (!taken.has(index)) return index
  return undefined
}

function subnetBase(pool: string, subnetIndex: number): number {
  return poolBase(pool) + subnetIndex * 256
}

function poolBase(pool: string): number {
  const [start = ''] = pool.split('/')
  return start.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map(shift => (value >>> shift) & 255).join('.')
}
