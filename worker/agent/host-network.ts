import type { Logger } from 'pino'
import type { HostNetwork, NetworkDriver } from '../network/network-driver.ts'

export interface HostNetworkOptions {
  driver: Pick<NetworkDriver, 'ensureHost'>
  /** Undefined until the API has told it. */
  network(): HostNetwork | undefined
  log: Pick<Logger, 'error'>
}

/**
 * Sees that the host's network is there: callers at the same time share one attempt. Never throws, since most of the
 * work needs no network: stops and removals go on without it, and a run that needs it fails by itself and is tried again.
 */
export function createHostNetwork({ driver, network, log }: HostNetworkOptions): () => Promise<void> {
  let underWay: Promise<void> | undefined
  const ensure = async () => {
    const wanted = network()
    if (wanted) await driver.ensureHost(wanted)
  }
  return () => {
    underWay ??= ensure()
      .catch(error => log.error({ err: error }, "the host's network could not be made; the next pass tries again"))
      .finally(() => {
        underWay = undefined
      })
    return underWay
  }
}
