import { readFile } from 'node:fs/promises'
import type { PublishedPort } from '#shared/domain/port.ts'
import { SlipwayError } from '#shared/errors.ts'

const LISTENING = '0A'

/**
 * Refuses ports that a process of the host listens on: packets would go to the container, and the process would wonder.
 * Errors: `port.taken-on-host`. Costs a read of /proc/net a protocol.
 */
export async function refuseTakenPorts(ports: readonly PublishedPort[]): Promise<void> {
  const wanted = new Set(ports.map(({ protocol }) => protocol))
  for (const protocol of wanted) {
    const tables = await Promise.all(
      [protocol, `${protocol}6`].map(name => readFile(`/proc/thread-self/net/${name}`, 'utf8').catch(() => '')),
    )
    const taken = new Set(tables.flatMap(text => listeningPorts(text, protocol)))
    const clash = ports.find(port => port.protocol === protocol && taken.has(port.hostPort))
    if (!clash) continue
    throw new SlipwayError(
      'port.taken-on-host',
      `A process of the host listens on port ${clash.hostPort}/${protocol}: stop it, or publish another port.`,
      { facts: { hostPort: clash.hostPort, protocol } },
    )
  }
}

/** Local ports in the kernel's table (proc_net_tcp): listening for TCP, any bound one for UDP. */
export function listeningPorts(text: string, protocol: 'tcp' | 'udp'): number[] {
  return text
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/))
    .filter(([, , , state]) => state !== undefined && (protocol === 'udp' || state === LISTENING))
    .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16))
    .filter(port => port > 0)
}
