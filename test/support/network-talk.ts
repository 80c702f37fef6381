import type { Endpoint } from '#shared/domain/container.ts'
import { newId } from '#shared/domain/ids.ts'
import type { PublishedPort } from '#shared/domain/port.ts'
import type { NetworkHost } from './network-host.ts'

/** One network, endpoints in it, and small servers and clients (busybox) in the namespaces of a host. */
export const NETWORK = { subnet: '10.99.7.0/24', gateway: '10.99.7.1', prefixLength: 24 }

export function endpointAt(last: number): Endpoint {
  const mac = `02:42:0a:63:07:${last.toString(16).padStart(2, '0')}`
  return { address: `10.99.7.${last}`, prefixLength: 24, gateway: NETWORK.gateway, mac }
}

export const newContainer = () => newId(bytes => crypto.getRandomValues(bytes))

export function published(hostPort: number, more: Partial<PublishedPort> = {}): PublishedPort {
  return { hostAddress: '0.0.0.0', hostPort, containerPort: 80, protocol: 'tcp', ...more }
}

/** A program of busybox in a namespace of a host; without a namespace in the host's own. */
const busybox = (netns: string | undefined, args: readonly string[]) =>
  netns === undefined ? ['busybox', ...args] : ['nsenter', `--net=${netns}`, 'busybox', ...args]

export const within = (host: NetworkHost, netns: string | undefined, ...args: string[]) =>
  host.run(...busybox(netns, args))

/** Answers every connection to a port with a word, from when this returns until the host is gone. */
export async function answer(host: NetworkHost, netns: string | undefined, port: number, word: string): Promise<void> {
  host.start(...busybox(netns, ['nc', '-ll', '-p', String(port), '-e', 'echo', word]))
  for (let tries = 0; tries < 100; tries++) {
    if ((await within(host, netns, 'netstat', '-ltn')).includes(`:${port} `)) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  throw new Error(`nothing listens on ${port}`)
}

/** What a server answers, or a word for silence and refusal. */
export async function ask(host: NetworkHost, address: string, port: number, netns?: string): Promise<string> {
  return within(host, netns, 'nc', '-w', '2', address, String(port)).catch(() => 'no answer')
}
