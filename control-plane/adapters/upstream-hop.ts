import { SlipwayError } from '#shared/errors.ts'

const LOCAL_V4 = /^(?:0|10|127|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./

/**
 * Where an upstream may send us (a redirect's target, a token server): https, or http from an endpoint that is configured
 * with it; no address of a private network unless the endpoint is one itself, so that nobody outside can make us knock at
 * what is inside. Names that resolve to such addresses are not looked through. Errors: `upstream.answer-invalid`.
 */
export function hopTo(endpointUrl: string, target: string | null, base: URL): URL {
  const endpoint = new URL(endpointUrl)
  const url = target !== null && URL.canParse(target, base.href) ? new URL(target, base) : undefined
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && endpoint.protocol === 'http:')
  const isPublic = url !== undefined && (!isLocal(url.hostname) || isLocal(endpoint.hostname))
  if (url && isSafe && isPublic && url.username === '' && url.password === '') return url
  throw new SlipwayError('upstream.answer-invalid', `${endpoint.host} sends us to an address that is not followed.`)
}

function isLocal(host: string): boolean {
  const hostname = host.replace(/\.$/, '') // The same name, said to be whole.
  if (hostname === 'localhost' || hostname.endsWith('.localhost') || LOCAL_V4.test(`${hostname}.`)) return true
  if (!hostname.startsWith('[')) return false
  return /^\[(?:::|f[cde])/.test(hostname) // Loopback and mapped, unique local, link local.
}
