import type { Endpoint } from '#shared/domain/container.ts'
import { SlipwayError } from '#shared/errors.ts'
import { BUILD_ADDRESSES, type HostNetwork } from '../network/network-driver.ts'
import { untilAborted } from './deadline.ts'

const { first: FIRST, last: LAST } = BUILD_ADDRESSES

/** Addresses of RUN steps and fetches under way: fifteen at a time, and whoever comes then waits. */
export function openBuildEndpoints(network: () => HostNetwork | undefined) {
  const taken = new Set<number>()
  const waiting = new Set<() => void>()
  const free = (last: number) => {
    taken.delete(last)
    for (const look of waiting) look() // All of them: the one that came first may just be giving up.
  }
  const waitForOne = async (signal: AbortSignal) => {
    const turn = Promise.withResolvers<void>()
    waiting.add(turn.resolve)
    await untilAborted(turn.promise, signal).finally(() => waiting.delete(turn.resolve))
  }
  return {
    take: async (signal: AbortSignal): Promise<{ endpoint: Endpoint } & Disposable> => {
      const host = network()
      if (!host) throw new SlipwayError('host.unreachable', 'This host has no network yet: the API has not told it.')
      while (taken.size > LAST - FIRST) await waitForOne(signal)
      let last = FIRST
      while (taken.has(last)) last++
      taken.add(last)
      const address = `${host.gateway.slice(0, host.gateway.lastIndexOf('.'))}.${last}`
      const mac = `02:42:${address
        .split('.')
        .map(part => Number(part).toString(16).padStart(2, '0'))
        .join(':')}`
      return {
        endpoint: { address, prefixLength: host.prefixLength, gateway: host.gateway, mac },
        [Symbol.dispose]: () => free(last),
      }
    },
  }
}
