import { join } from 'node:path'

/** Where `ip netns` has them too, so that operators can look inside. */
export const NETNS_FOLDER = '/run/netns'

/** Everything in the kernel is named from what owns it: the instance, or the instance and a container's id. */
export interface Names {
  bridge: string
  /** The nftables table, and the mark of rules in tables of others. */
  table: string
  attachmentsFolder: string
  netnsPrefix: string
  netns(id: string): string
  /** At most 15 characters, as the kernel wants. */
  veth(id: string): string
}

export const VETH_PREFIX = 'slw'

export function namesOf(instance: string, runFolder: string): Names {
  const netnsPrefix = `slw-${instance}-`
  return {
    bridge: `slw-${instance}`,
    table: `slipway_${instance}`,
    attachmentsFolder: join(runFolder, 'attachments'),
    netnsPrefix,
    netns: id => join(NETNS_FOLDER, netnsPrefix + id),
    veth: id => VETH_PREFIX + id.slice(0, 12),
  }
}
