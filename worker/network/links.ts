import { closeSync, openSync, readFileSync } from 'node:fs'
import type { Endpoint } from '#shared/domain/container.ts'
import {
  attribute,
  NETLINK,
  type NetlinkMessage,
  NetlinkSocket,
  NLM_F,
  nested,
  textAttribute,
  uint32Attribute,
} from '#worker/host/netlink.ts'
import { inNetns } from '#worker/host/netns.ts'

/** rtnetlink(7), as linux/rtnetlink.h, if_link.h, if_addr.h and veth.h number it. */
const RTM = { NEWLINK: 16, DELLINK: 17, NEWADDR: 20, NEWROUTE: 24 } as const
const IFLA = { ADDRESS: 1, IFNAME: 3, MASTER: 10, LINKINFO: 18, NET_NS_FD: 28 } as const
const INFO = { KIND: 1, DATA: 2 } as const
const VETH_INFO_PEER = 1
const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4 } as const
const RTA = { OIF: 4, GATEWAY: 5 } as const
const AF_INET = 2
const IFF_UP = 1
const TABLE_MAIN = 254
const PROTOCOL_BOOT = 3
const UNICAST = 1
/** A namespace of ours has these two and no other. */
const LOOPBACK_INDEX = 1
const ETH0_INDEX = 2
const MAKE = NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL

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
      linkHeader(ETH0_INDEX, 0),
      textAttribute(IFLA.IFNAME, 'eth0'),
      attribute(IFLA.ADDRESS, Buffer.from(pair.mac.replaceAll(':', ''), 'hex')),
      uint32Attribute(IFLA.NET_NS_FD, netns),
    ])
    const body = Buffer.concat([
      linkHeader(0, IFF_UP),
      textAttribute(IFLA.IFNAME, pair.name),
      uint32Attribute(IFLA.MASTER, Number(readFileSync(`/sys/class/net/${pair.bridge}/ifindex`, 'utf8'))),
      nested(IFLA.LINKINFO, textAttribute(INFO.KIND, 'veth'), nested(INFO.DATA, attribute(VETH_INFO_PEER, peer))),
    ])
    using socket = new NetlinkSocket(NETLINK.ROUTE)
    await socket.send({ type: RTM.NEWLINK, flags: MAKE, body, doing: `make the link ${pair.name}` })
  } finally {
    closeSync(netns)
  }
}

/** Loopback up, the endpoint's address, and the way out by its gateway, inside a namespace that has `eth0`. */
export async function configureInside(netns: string, endpoint: Endpoint): Promise<void> {
  using socket = inNetns(netns, () => new NetlinkSocket(NETLINK.ROUTE))
  await socket.send(linkUp(LOOPBACK_INDEX), newAddress(endpoint), linkUp(ETH0_INDEX), newDefaultRoute(endpoint))
}

/** One that is not there is no error. */
export async function removeLink(name: string): Promise<void> {
  using socket = new NetlinkSocket(NETLINK.ROUTE)
  const body = Buffer.concat([linkHeader(0, 0), textAttribute(IFLA.IFNAME, name)])
  const message = { type: RTM.DELLINK, flags: NLM_F.ACK, body, doing: `remove the link ${name}` }
  const [errno] = await socket.sendAll([message])
  if (errno !== undefined && errno !== 'ENODEV') await socket.send(message)
}

/** struct ifinfomsg. */
function linkHeader(index: number, flags: number): Buffer {
  const header = Buffer.alloc(16)
  header.writeInt32LE(index, 4)
  header.writeUInt32LE(flags, 8)
  header.writeUInt32LE(flags, 12)
  return header
}

function linkUp(index: number): NetlinkMessage {
  return { type: RTM.NEWLINK, flags: NLM_F.ACK, body: linkHeader(index, IFF_UP), doing: `set link ${index} up` }
}

/** struct ifaddrmsg and its attributes. */
function newAddress({ address, prefixLength }: Endpoint): NetlinkMessage {
  const header = Buffer.alloc(8)
  header.writeUInt8(AF_INET, 0)
  header.writeUInt8(prefixLength, 1)
  header.writeUInt32LE(ETH0_INDEX, 4)
  const bytes = ipv4(address)
  const broadcast = Buffer.alloc(4)
  broadcast.writeUInt32BE((bytes.readUInt32BE() | (2 ** (32 - prefixLength) - 1)) >>> 0)
  const body = Buffer.concat([
    header,
    attribute(IFA.LOCAL, bytes),
    attribute(IFA.ADDRESS, bytes),
    attribute(IFA.BROADCAST, broadcast),
  ])
  return { type: RTM.NEWADDR, flags: MAKE, body, doing: `give eth0 the address ${address}` }
}

/** struct rtmsg and its attributes. */
function newDefaultRoute({ gateway }: Endpoint): NetlinkMessage {
  const header = Buffer.alloc(12)
  header.writeUInt8(AF_INET, 0)
  header.writeUInt8(TABLE_MAIN, 4)
  header.writeUInt8(PROTOCOL_BOOT, 5)
  header.writeUInt8(UNICAST, 7)
  const body = Buffer.concat([header, attribute(RTA.GATEWAY, ipv4(gateway)), uint32Attribute(RTA.OIF, ETH0_INDEX)])
  return { type: RTM.NEWROUTE, flags: MAKE, body, doing: `route by ${gateway}` }
}

function ipv4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number))
}
