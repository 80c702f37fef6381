import type { PublishedPort } from '#shared/domain/port.ts'
import type { HostNetwork } from './network-driver.ts'

/**
 * The one nftables table of an instance. Ports live in maps, so a packet costs one look-up however many there are, and
 * publishing the thousandth port costs as the first. Pure text.
 *
 * - `published_any`: ports of every address of the host; `published_one`: ports of one address alone.
 * - Packets of the host itself take `output`, since they never pass `prerouting`; those from 127.0.0.1 get the bridge's
 *   address on the way out, or the answer would find no way back. `route_localnet`, which that takes, is guarded: what
 *   comes from the bridge never reaches 127.0.0.0/8.
 * - A container that reaches another (or itself) through the host's port gets the bridge's address too.
 */
export function ruleset(table: string, bridge: string, { subnet }: HostNetwork): string {
  const publish = [
    'dnat ip to ip daddr . meta l4proto . th dport map @published_one',
    'fib daddr type local dnat ip to meta l4proto . th dport map @published_any',
  ].join('\n    ')
  return `
table inet ${table} {
  map published_any { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map published_one { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname "${bridge}" ip daddr 127.0.0.0/8 drop
    iifname "${bridge}" ip saddr != ${subnet} ip saddr != 0.0.0.0 drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ${publish}
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ${publish}
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

/** Statements that publish ports of a container; in one transaction they all hold or none. */
export function publishStatements(table: string, address: string, ports: readonly PublishedPort[]): string {
  return ports.map(port => `add element inet ${table} ${element(address, port)}\n`).join('')
}

/** Deleting an element that is not there would fail the whole transaction, so it is added first. */
export function unpublishStatements(table: string, address: string, ports: readonly PublishedPort[]): string {
  return ports
    .map(
      port =>
        `add element inet ${table} ${element(address, port)}\ndelete element inet ${table} ${element(address, port)}\n`,
    )
    .join('')
}

function element(address: string, { hostAddress, hostPort, containerPort, protocol }: PublishedPort): string {
  const target = `${address} . ${containerPort}`
  return hostAddress === '0.0.0.0'
    ? `published_any { ${protocol} . ${hostPort} : ${target} }`
    : `published_one { ${hostAddress} . ${protocol} . ${hostPort} : ${target} }`
}
