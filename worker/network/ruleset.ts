import { METADATA_ADDRESSES } from '#shared/domain/local-host.ts'
import type { PublishedPort } from '#shared/domain/port.ts'
import { BUILD_ADDRESSES, type BuildReach, type HostNetwork } from './network-driver.ts'

export interface RulesetOptions {
  table: string
  bridge: string
  network: HostNetwork
  /** Whether this host forwards because of us alone: then it must not become everybody's router. */
  refusesOthers: boolean
  buildReach: BuildReach
}

const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']

/**
 * The one nftables table of an instance. Ports live in maps, so a packet costs one look-up however many there are, and
 * publishing the thousandth port costs as the first. Pure text.
 *
 * - `published_any`: ports of every address of the host; `published_one`: ports of one address alone.
 * - Packets of the host itself take `output`, since they never pass `prerouting`; those from 127.0.0.1 get the bridge's
 *   address on the way out, or the answer would find no way back. `route_localnet`, which that takes, is guarded: only
 *   the host itself reaches 127.0.0.0/8. A neighbour's packet to there would be translated before the kernel's own check.
 * - A Dockerfile may be a stranger's: builds do not reach where a cloud tells its machines their keys, and where `buildReach`
 *   says so no private network, this host's own services among it. Resolvers are for everybody.
 * - A container that reaches another (or itself) through the host's port gets the bridge's address too.
 * - `forward`: containers reach out, and are reached by answers and through published ports alone. Where the host
 *   forwards for others only because we turned it on, it does so for bridges (other container engines) and for what
 *   their rules translate, and else refuses.
 */
export function ruleset({ table, bridge, network, refusesOthers, buildReach }: RulesetOptions): string {
  const { subnet } = network
  const publish = [
    'dnat ip to ip daddr . meta l4proto . th dport map @published_one',
    'fib daddr type local dnat ip to meta l4proto . th dport map @published_any',
  ].join('\n    ')
  const forward = [
    'ct state established,related accept',
    'ct status dnat accept',
    `iifname "${bridge}" accept`,
    `oifname "${bridge}" drop`,
    ...(refusesOthers ? ['meta iifkind "bridge" accept', 'meta nfproto ipv4 drop'] : []),
  ].join('\n    ')
  return `
table inet ${table} {
  map published_any { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map published_one { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname "${bridge}" ip saddr != ${subnet} ip saddr != 0.0.0.0 drop
    ${buildGuard(bridge, network, buildReach)}
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ${publish}
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ${publish}
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ${forward}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${bridge}" ct status dnat ip saddr ${subnet} masquerade
    oifname "${bridge}" ip saddr 127.0.0.0/8 masquerade
    oifname != "${bridge}" ip saddr ${subnet} masquerade
  }
}
`
}

function buildGuard(bridge: string, { gateway }: HostNetwork, reach: BuildReach): string {
  const start = gateway.slice(0, gateway.lastIndexOf('.'))
  const builds = `${start}.${BUILD_ADDRESSES.first}-${start}.${BUILD_ADDRESSES.last}`
  const refused = [...METADATA_ADDRESSES, ...(reach === 'public' ? PRIVATE : [])].join(', ')
  const who = `iifname "${bridge}" ip saddr ${builds}`
  const butNames = 'meta l4proto { tcp, udp } th dport != 53 drop'
  return [
    `${who} ip daddr { ${refused} } ${butNames}`,
    `${who} ip daddr { ${refused} } meta l4proto != { tcp, udp, icmp } drop`,
    // By a public address of its own a host is as near as by a private one, and no firewall before it sees that.
    ...(reach === 'public' ? [`${who} fib daddr type local ${butNames}`] : []),
  ].join('\n    ')
}

/** A published port as an element of one of the maps. */
export interface PortElement {
  map: string
  key: string
  target: string
}

export function portElement(address: string, port: PublishedPort): PortElement {
  const { hostAddress, hostPort, containerPort, protocol } = port
  const target = `${address} . ${containerPort}`
  return hostAddress === '0.0.0.0'
    ? { map: 'published_any', key: `${protocol} . ${hostPort}`, target }
    : { map: 'published_one', key: `${hostAddress} . ${protocol} . ${hostPort}`, target }
}

export const sameElement = (a: PortElement, b: PortElement) =>
  a.map === b.map && a.key === b.key && a.target === b.target

export function elementStatements(verb: 'add' | 'delete', table: string, elements: readonly PortElement[]): string {
  return elements
    .map(({ map, key, target }) => `${verb} element inet ${table} ${map} { ${key} : ${target} }\n`)
    .join('')
}

const ELEMENTS = /elements = \{([^}]*)\}/g

/** The elements in what `nft list table` prints. */
export function listedElements(text: string): PortElement[] {
  return text.split(/^\s*map /m).flatMap(part => {
    const [map = ''] = part.split(' ', 1)
    return [...part.matchAll(ELEMENTS)]
      .flatMap(([, inner = '']) => inner.split(','))
      .map(item => item.split(':').map(side => side.trim()))
      .flatMap(([key, target]) => (key && target ? [{ map, key, target }] : []))
  })
}

/** What `nft list table` prints, without the elements of its maps: the same text as long as nobody changes a rule. */
export function withoutElements(text: string): string {
  return text.replace(ELEMENTS, '').replace(/\s+/g, ' ')
}
