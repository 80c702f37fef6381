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

/** The host's resolvers for a container: those on the host's loopback cannot be reached from in there. Pure. */
export function containerResolvConf(hostText: string, upstreamText: string): string {
  const usable = (text: string) =>
    text.split('\n').filter(line => !/^\s*nameserver\s+(127\.|::1)/.test(line) && !/^\s*(#|;|$)/.test(line))
  const lines = usable(hostText)
  const chosen = lines.some(line => /^\s*nameserver\s/.test(line)) ? lines : usable(upstreamText)
  return chosen.length > 0 ? `${chosen.join('\n')}\n` : ''
}
