import { z } from 'zod'
import { SlipwayError } from '../errors.ts'

export const protocolSchema = z.enum(['tcp', 'udp'])
export type Protocol = z.infer<typeof protocolSchema>

/** A container's port reachable on its host. `hostAddress` is IPv4; `0.0.0.0` means every address of the host. */
export const publishedPortSchema = z.object({
  hostAddress: z.ipv4(),
  hostPort: z.int().min(1).max(65535),
  containerPort: z.int().min(1).max(65535),
  protocol: protocolSchema,
})
export type PublishedPort = z.infer<typeof publishedPortSchema>

const FORM =
  /^(?:(?<address>\d{1,3}(?:\.\d{1,3}){3}):)?(?<host>\d{1,5}):(?<container>\d{1,5})(?:\/(?<protocol>tcp|udp))?$/

/** `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`, as `docker run -p` takes it. */
export function parsePublishedPort(text: string): PublishedPort {
  const { address = '0.0.0.0', host, container, protocol = 'tcp' } = FORM.exec(text)?.groups ?? {}
  const parsed = publishedPortSchema.safeParse({
    hostAddress: address,
    hostPort: Number(host),
    containerPort: Number(container),
    protocol,
  })
  if (parsed.success) return parsed.data
  throw new SlipwayError(
    'request.invalid',
    `${JSON.stringify(text)} is no published port: write [ADDRESS:]HOST:CONTAINER[/tcp|udp], such as "8080:80".`,
  )
}

export function formatPublishedPort(port: PublishedPort): string {
  const address = port.hostAddress === '0.0.0.0' ? '' : `${port.hostAddress}:`
  return `${address}${port.hostPort}:${port.containerPort}/${port.protocol}`
}
