const LOCAL_V4 = /^(?:0|10|127|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./

/**
 * Whether a URL's host is an address of a private network, or of this machine. Names that resolve to one are not
 * looked through: who connects looks at addresses.
 */
export function isLocalHost(host: string): boolean {
  const hostname = host.replace(/\.$/, '') // The same name, said to be whole.
  if (hostname === 'localhost' || hostname.endsWith('.localhost') || LOCAL_V4.test(`${hostname}.`)) return true
  if (!hostname.startsWith('[')) return false
  return /^\[(?:::|f[cde])/.test(hostname) // Loopback and mapped, unique local, link local.
}

/** Where clouds tell their machines their keys: link-local addresses, and those of Azure, Alibaba and AWS (IPv6) besides. As nftables writes sets. */
export const METADATA_ADDRESSES = ['169.254.0.0/16', '168.63.129.16', '100.100.100.200']
const METADATA = /^(?:169\.254\.|168\.63\.129\.16$|100\.100\.100\.200$|fe[89ab]|fd00:ec2::254$)/i
const MAPPED = /^::ffff:(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i

/** `address` is one of IPv4 or IPv6, without brackets. */
export function isMetadataAddress(address: string): boolean {
  const [, dotted, high, low] = MAPPED.exec(address) ?? []
  const bytes = [high, low].flatMap(part => [
    Number.parseInt(part ?? '', 16) >> 8,
    Number.parseInt(part ?? '', 16) & 255,
  ])
  return METADATA.test(dotted ?? (high === undefined ? address : bytes.join('.')))
}
