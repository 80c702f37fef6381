import type { Endpoint } from '#shared/domain/container.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { HostNetwork } from '../network/network-driver.ts'

/** The end of a host's /24, which the API gives to no container: the agent's own, for RUN steps. */
const FIRST = 240
const LAST = 254

/** Addresses of RUN steps under way. At most fifteen at a time, far above the builds that run at once. */
export function openBuildEndpoints(network: () => HostNetwork | undefined) {
  const taken = new Set<number>()
  return {
    take: (): { endpoint: Endpoint } & Disposable => {
      const host = network()
      if (!host) throw new SlipwayError('host.unreachable', 'This host has no network yet: the API has not told it.')
      let last = FIRST
      while (taken.has(last)) last++
      if (last > LAST)
        throw new SlipwayError('host.addresses-exhausted', 'Too many RUN steps at once: build again later.')
      taken.add(last)
      const address = `${host.gateway.slice(0, host.gateway.lastIndexOf('.'))}.${last}`
      const mac = `02:42:${address
        .split('.')
        .map(part => Number(part).toString(16).padStart(2, '0'))
        .join(':')}`
      return {
        endpoint: { address, prefixLength: host.prefixLength, gateway: host.gateway, mac },
        [Symbol.dispose]: () => void taken.delete(last),
      }
    },
  }
}
