import { attribute, type NetlinkMessage, NLM_F, uint32Attribute } from '#worker/host/netlink.ts'

/** rtnetlink(7), as linux/rtnetlink.h, if_link.h, if_addr.h and veth.h number it: messages as bytes, nothing sent. */
export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
} as const
export const IFLA = { ADDRESS: 1, IFNAME: 3, MASTER: 10, LINKINFO: 18, NET_NS_FD: 28 } as const
export const INFO = { KIND: 1, DATA: 2 } as const
export const VETH_INFO_PEER = 1
export const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4 } as const
export const IFF_UP = 1
/** The same in every namespace. */
export const LOOPBACK_INDEX = 1
export const MAKE = NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL

const RTA = { OIF: 4, GATEWAY: 5 } as const
const AF_INET = 2
const TABLE_MAIN = 254
const PROTOCOL_BOOT = 3
const UNICAST = 1

export interface Address {
  address: string
  prefixLength: number
}

/** struct ifinfomsg. */
export function linkHeader(index: number, flags: number): Buffer {
  const header = Buffer.alloc(16)
  header.writeInt32LE(index, 4)
  header.writeUInt32LE(flags, 8)
  header.writeUInt32LE(flags, 12)
  return header
}

export const linkIndexOf = (body: Buffer) => body.readInt32LE(4)

export function linkUp(index: number): NetlinkMessage {
  return { type: RTM.NEWLINK, flags: NLM_F.ACK, body: linkHeader(index, IFF_UP), doing: `set link ${index} up` }
}

/** struct ifaddrmsg. */
function addressHeader(index: number, prefixLength: number): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt8(AF_INET, 0)
  header.writeUInt8(prefixLength, 1)
  header.writeUInt32LE(index, 4)
  return header
}

export const addressesQuestion: NetlinkMessage = {
  ...{ type: RTM.GETADDR, flags: NLM_F.DUMP, body: addressHeader(0, 0), doing: 'list addresses' },
}

export const addressIndexOf = (body: Buffer) => body.readUInt32LE(4)

export const addressLengthOf = (body: Buffer) => body.readUInt8(1)

export const addressAttributesOf = (body: Buffer) => body.subarray(8)

export function newAddress(index: number, { address, prefixLength }: Address): NetlinkMessage {
  const bytes = ipv4(address)
  const broadcast = Buffer.alloc(4)
  broadcast.writeUInt32BE((bytes.readUInt32BE() | (2 ** (32 - prefixLength) - 1)) >>> 0)
  const body = Buffer.concat([
    addressHeader(index, prefixLength),
    attribute(IFA.LOCAL, bytes),
    attribute(IFA.ADDRESS, bytes),
    attribute(IFA.BROADCAST, broadcast),
  ])
  return { type: RTM.NEWADDR, flags: MAKE, body, doing: `give link ${index} the address ${address}` }
}

export function removeAddress(index: number, { address, prefixLength }: Address): NetlinkMessage {
  const body = Buffer.concat([addressHeader(index, prefixLength), attribute(IFA.LOCAL, ipv4(address))])
  return { type: RTM.DELADDR, flags: NLM_F.ACK, body, doing: `take the address ${address} away` }
}

/** struct rtmsg and its attributes. */
export function newDefaultRoute(index: number, gateway: string): NetlinkMessage {
  const header = Buffer.alloc(12)
  header.writeUInt8(AF_INET, 0)
  header.writeUInt8(TABLE_MAIN, 4)
  header.writeUInt8(PROTOCOL_BOOT, 5)
  header.writeUInt8(UNICAST, 7)
  const body = Buffer.concat([header, attribute(RTA.GATEWAY, ipv4(gateway)), uint32Attribute(RTA.OIF, index)])
  return { type: RTM.NEWROUTE, flags: MAKE, body, doing: `route by ${gateway}` }
}

export function ipv4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number))
}
