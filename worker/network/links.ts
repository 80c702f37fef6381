import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import type { Endpoint } from '#shared/domain/container.ts'
import {
  attribute,
  NETLINK,
  NetlinkSocket,
  NLM_F,
  nested,
  textAttribute,
  uint32Attribute,
} from '#worker/host/netlink.ts'
import { inNetns } from '#worker/host/netns.ts'
import {
  IFF_UP,
  IFLA,
  INFO,
  LOOPBACK_INDEX,
  linkHeader,
  linkIndexOf,
  linkUp,
  MAKE,
  newAddress,
  newDefaultRoute,
  RTM,
  VETH_INFO_PEER,
} from './rtnetlink.ts'

export interface VethPair {
  name: string
  bridge: string
  /** Path of the network namespace that gets the other end, as `eth0`. */
  netns: string
  mac: string
}

/** Both ends at once, the outer one up and a port of the bridge: there is no moment at which it has no owner. */
export async function makeVethPair(pair: VethPair): Promise<void> {
  const netns = openSync(pair.netns, 'r')
  try {
    const peer = Buffer.concat([
      linkHeader(0, 0),
      textAttribute(IFLA.IFNAME, 'eth0'),
      attribute(IFLA.ADDRESS, Buffer.from(pair.mac.replaceAll(':', ''), 'hex')),
      uint32Attribute(IFLA.NET_NS_FD, netns),
    ])
    const body = Buffer.concat([
      linkHeader(0, IFF_UP),
      textAttribute(IFLA.IFNAME, pair.name),
      uint32Attribute(IFLA.MASTER, indexOf(pair.bridge)),
      nested(IFLA.LINKINFO, textAttribute(INFO.KIND, 'veth'), nested(INFO.DATA, attribute(VETH_INFO_PEER, peer))),
    ])
    using socket = new NetlinkSocket(NETLINK.ROUTE)
    await socket.send({ type: RTM.NEWLINK, flags: MAKE, body, doing: `make the link ${pair.name}` })
  } finally {
    closeSync(netns)
  }
  allowHairpin(pair.name)
}

/** A link that lost its bridge becomes a port of it again. */
export async function joinBridge(name: string, bridge: string): Promise<void> {
  using socket = new NetlinkSocket(NETLINK.ROUTE)
  const body = Buffer.concat([
    linkHeader(0, IFF_UP),
    textAttribute(IFLA.IFNAME, name),
    uint32Attribute(IFLA.MASTER, indexOf(bridge)),
  ])
  await socket.send({ type: RTM.NEWLINK, flags: NLM_F.ACK, body, doing: `make ${name} a port of ${bridge}` })
  allowHairpin(name)
}

/** Where br_netfilter is loaded (Docker does that), a container's way to its own published port ends at the bridge. */
function allowHairpin(name: string): void {
  writeFileSync(`/sys/class/net/${name}/brport/hairpin_mode`, '1')
}

/** Loopback up, the endpoint's address, and the way out by its gateway, inside a namespace that has `eth0`. */
export async function configureInside(netns: string, endpoint: Endpoint): Promise<void> {
  using socket = inNetns(netns, () => new NetlinkSocket(NETLINK.ROUTE))
  // Asked for: kernels with tunnels built in put those (tunl0, sit0, gre0) into each new namespace first.
  const name = Buffer.concat([linkHeader(0, 0), textAttribute(IFLA.IFNAME, 'eth0')])
  const index = linkIndexOf(await socket.ask({ type: RTM.GETLINK, flags: 0, body: name, doing: 'find eth0' }))
  await socket.send(
    linkUp(LOOPBACK_INDEX),
    newAddress(index, endpoint),
    linkUp(index),
    newDefaultRoute(index, endpoint.gateway),
  )
}

/** One that is not there is no error. */
export async function removeLink(name: string): Promise<void> {
  using socket = new NetlinkSocket(NETLINK.ROUTE)
  const body = Buffer.concat([linkHeader(0, 0), textAttribute(IFLA.IFNAME, name)])
  const message = { type: RTM.DELLINK, flags: NLM_F.ACK, body, doing: `remove the link ${name}` }
  const [errno] = await socket.sendAll([message])
  if (errno !== undefined && errno !== 'ENODEV') await socket.send(message)
}

export function indexOf(name: string): number {
  return Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'))
}
