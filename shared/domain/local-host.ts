const LOCAL_V4 = /^(?:0|10|127|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./

/** Whether a URL's host is an address of a private network, or of this machine. Names that resolve to one are not looked through. */
export function isLocalHost(host: string): boolean {
  const hostname = host.replace(/\.$/, '') // The same name, said to be whole.
  if (hostname === 'localhost' || hostname.endsWith('.localhost') || LOCAL_V4.test(`${hostname}.`)) return true
  if (!hostname.startsWith('[')) return false
  return /^\[(?:::|f[cde])/.test(hostname) // Loopback and mapped, unique local, link local.
}
