import { existsSync, readdirSync } from 'node:fs'
import type { Endpoint } from '#shared/domain/container.ts'
import { isId } from '#shared/domain/ids.ts'
import { isNetns, makeNetns, removeNetns } from '#worker/host/netns.ts'
import { ensureSysctl } from '#worker/host/sysctl.ts'
import { makeOwnedNetns } from '#worker/host/userns.ts'
import { portsOf } from './bridge.ts'
import { configureInside, joinBridge, makeVethPair, removeLink } from './links.ts'
import { type Names, NETNS_FOLDER, VETH_PREFIX } from './names.ts'

/** A namespace a container, and the link that joins it to the bridge. */
export interface Interfaces {
  /** `firstId`: of a user namespace of its own. */
  make(id: string, endpoint: Endpoint, firstId?: number): Promise<void>
  removeLink(id: string): Promise<void>
  removeNamespace(id: string): Promise<void>
  /** A container that runs gets back what somebody took: its link, or the link's place on the bridge. */
  mend(id: string, endpoint: Endpoint): Promise<void>
  isThere(id: string): boolean
  /** Ids that have a namespace of ours. */
  ids(): string[]
  /** Those of `owners` whose link is no port of the bridge. */
  lost(owners: Iterable<string>): string[]
  /** Removes links of ours on the bridge that belong to none of `owners`. */
  sweep(owners: () => Promise<Set<string>>): Promise<void>
}

export function interfaces(names: Names): Interfaces {
  const { bridge } = names
  const hasLink = (id: string) => existsSync(`/sys/class/net/${names.veth(id)}`)
  const makeLink = async (id: string, endpoint: Endpoint) => {
    await makeVethPair({ name: names.veth(id), bridge, netns: names.netns(id), mac: endpoint.mac })
    await configureInside(names.netns(id), endpoint)
  }
  return {
    make: async (id, endpoint, firstId) => {
      // Containers have IPv4 alone, so the kernel gives eth0 no address of its own making. Loopback keeps ::1.
      const prepare = () => void ensureSysctl('net/ipv6/conf/default/disable_ipv6', '1')
      if (firstId === undefined) makeNetns(names.netns(id), prepare)
      else await makeOwnedNetns(names.netns(id), firstId, prepare)
      await makeLink(id, endpoint)
    },
    removeLink: async id => {
      if (hasLink(id)) await removeLink(names.veth(id))
    },
    removeNamespace: id => removeNetns(names.netns(id)),
    mend: async (id, endpoint) => {
      if (!isNetns(names.netns(id)) || portsOf(bridge).includes(names.veth(id))) return
      if (hasLink(id)) await joinBridge(names.veth(id), bridge)
      else await makeLink(id, endpoint)
    },
    isThere: id => existsSync(names.netns(id)) || hasLink(id),
    ids: () => namespacesOf(names),
    lost: owners => {
      const present = portsOf(bridge)
      return [...owners].filter(id => !present.includes(names.veth(id)))
    },
    sweep: async owners => {
      const present = portsOf(bridge) // Before the owners: each has its name written down before it has a link.
      const known = new Set([...(await owners())].map(names.veth))
      for (const link of present) if (link.startsWith(VETH_PREFIX) && !known.has(link)) await removeLink(link)
    },
  }
}

function namespacesOf({ netnsPrefix }: Names): string[] {
  return (existsSync(NETNS_FOLDER) ? readdirSync(NETNS_FOLDER) : [])
    .filter(name => name.startsWith(netnsPrefix))
    .map(name => name.slice(netnsPrefix.length))
    .filter(isId)
}
