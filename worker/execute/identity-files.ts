/** `/etc/hosts` of a container. Pure. */
export function hostsFile(address: string, hostname: string): string {
  const lines = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    `${address}\t${hostname}`,
  ]
  return `${lines.join('\n')}\n`
}

/** Where the host has no resolver that a container can reach: Google's, as Docker falls back to. */
const PUBLIC_RESOLVERS = ['nameserver 8.8.8.8', 'nameserver 8.8.4.4']

/**
 * The host's resolvers for a container: those on the host's loopback cannot be reached from in there, nor those with an
 * IPv6 address, since containers have no IPv6 route. The upstream file stands in for the host's own, public resolvers
 * for both. Pure.
 */
export function containerResolvConf(hostText: string, upstreamText: string): string {
  const usable = (text: string) =>
    text.split('\n').filter(line => !/^\s*(#|;|$)/.test(line) && !/^\s*nameserver\s+(127\.|\S*:)/.test(line))
  const isResolver = (line: string) => /^\s*nameserver\s/.test(line)
  const lines = usable(hostText)
  const chosen = [lines, usable(upstreamText)].find(some => some.some(isResolver)) ?? [...lines, ...PUBLIC_RESOLVERS]
  return `${chosen.join('\n')}\n`
}
