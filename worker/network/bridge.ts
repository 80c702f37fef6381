import { existsSync, readdirSync } from 'node:fs'
import { decodeAttributes, NETLINK, NetlinkSocket, NLM_F, nested, textAttribute } from '#worker/host/netlink.ts'
import { ensureSysctl } from '#worker/host/sysctl.ts'
import { indexOf } from './links.ts'
import type { HostNetwork } from './network-driver.ts'
import {
  type Address,
  addressAttributesOf,
  addressesQuestion,
  addressIndexOf,
  addressLengthOf,
  IFA,
  IFLA,
  INFO,
  linkHeader,
  linkUp,
  newAddress,
  RTM,
  removeAddress,
} from './rtnetlink.ts'

/** The bridge with the gateway as its only address, up. Each look costs a few microseconds and changes what is wrong. */
export async function ensureBridge(bridge: string, { gateway, prefixLength }: HostNetwork): Promise<void> {
  using socket = new NetlinkSocket(NETLINK.ROUTE)
  if (!existsSync(`/sys/class/net/${bridge}`)) await makeBridge(socket, bridge)
  // Before it is up: a container could announce itself as a router, or reach the host's services on [::] by fe80::.
  ensureSysctl(`net/ipv6/conf/${bridge}/disable_ipv6`, '1')
  ensureSysctl(`net/ipv6/conf/${bridge}/accept_ra`, '0')
  const index = indexOf(bridge)
  const present = await addressesOf(socket, index)
  const isWanted = (item: Address) => item.address === gateway && item.prefixLength === prefixLength
  for (const old of present.filter(item => !isWanted(item))) await socket.send(removeAddress(index, old))
  if (!present.some(isWanted)) await socket.send(newAddress(index, { address: gateway, prefixLength }))
  await socket.send(linkUp(index))
}

async function makeBridge(socket: NetlinkSocket, bridge: string): Promise<void> {
  const kind = nested(IFLA.LINKINFO, textAttribute(INFO.KIND, 'bridge'))
  const body = Buffer.concat([linkHeader(0, 0), textAttribute(IFLA.IFNAME, bridge), kind])
  await socket.send({
    ...{ type: RTM.NEWLINK, flags: NLM_F.ACK | NLM_F.CREATE, body, doing: `make the bridge ${bridge}` },
  })
}

async function addressesOf(socket: NetlinkSocket, index: number): Promise<Address[]> {
  const replies = await socket.dump(addressesQuestion)
  return replies
    .filter(({ body }) => addressIndexOf(body) === index)
    .map(({ body }) => {
      const local = new Map(decodeAttributes(addressAttributesOf(body))).get(IFA.LOCAL) ?? Buffer.alloc(4)
      return { address: [...local].join('.'), prefixLength: addressLengthOf(body) }
    })
}

/** Names of the links that are ports of it; none when it is not there. */
export function portsOf(bridge: string): string[] {
  const folder = `/sys/class/net/${bridge}/brif`
  return existsSync(folder) ? readdirSync(folder) : []
}

/** Whether anything on this host bridges or routes for others (Docker, libvirt, another instance). */
export function hasBridges(): boolean {
  return readdirSync('/sys/class/net').some(name => existsSync(`/sys/class/net/${name}/bridge`))
}
