import { readFile } from 'node:fs/promises'
import type { Protocol, PublishedPort } from '#shared/domain/port.ts'
import { SlipwayError } from '#shared/errors.ts'

/** States of the kernel's tables: TCP's LISTEN, and UDP's CLOSE, which means that no peer is chosen. */
const OPEN_STATE = { tcp: '0A', udp: '07' } as const
const ANY = '0.0.0.0'

/**
 * Refuses ports that a process of the host listens on: packets would go to the container, and the process would wonder.
 * Errors: `port.taken-on-host`. Costs a read of /proc/net a protocol.
 */
export async function refuseTakenPorts(ports: readonly PublishedPort[]): Promise<void> {
  for (const protocol of new Set(ports.map(({ protocol }) => protocol))) {
    const tables = await Promise.all(
      [protocol, `${protocol}6`].map(name => readFile(`/proc/thread-self/net/${name}`, 'utf8').catch(() => '')),
    )
    const listeners = tables.flatMap(text => listenersIn(text, protocol))
    const clash = ports.find(port => port.protocol === protocol && listeners.some(item => clashes(item, port)))
    if (!clash) continue
    throw new SlipwayError(
      'port.taken-on-host',
      `A process of the host listens on port ${clash.hostPort}/${protocol}: stop it, or publish another port.`,
      { facts: { hostPort: clash.hostPort, protocol } },
    )
  }
}

export interface Listener {
  address: string
  port: number
}

const clashes = ({ address, port }: Listener, { hostAddress, hostPort }: PublishedPort) =>
  port === hostPort && (address === ANY || hostAddress === ANY || address === hostAddress)

/** Who waits for IPv4 packets in the kernel's table (proc_net_tcp): connected sockets hold no port for others. */
export function listenersIn(text: string, protocol: Protocol): Listener[] {
  return text
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === OPEN_STATE[protocol])
    .map(([, local = '']) => local.split(':'))
    .map(([address = '', port = '']) => ({ address: ipv4Of(address), port: Number.parseInt(port, 16) }))
    .filter((item): item is Listener => item.address !== undefined && item.port > 0)
}

/** `[::]` takes IPv4 too unless it was told not to, which the table does not say. Undefined for IPv6 alone. */
function ipv4Of(hex: string): string | undefined {
  if (/^0{32}$/.test(hex)) return ANY
  const [, last] = /^(?:0{16}FFFF0000)?([0-9A-F]{8})$/.exec(hex) ?? []
  return last === undefined ? undefined : [...Buffer.from(last, 'hex')].reverse().join('.')
}
