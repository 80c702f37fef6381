import { isLocalHost } from '#shared/domain/local-host.ts'
import { SlipwayError } from '#shared/errors.ts'

/**
 * Where an upstream may send us (a redirect's target, a token server): https, or http from an endpoint that is configured
 * with it; no address of a private network unless the endpoint is one itself, so that nobody outside can make us knock at
 * what is inside. Names that resolve to such addresses are not looked through. Errors: `upstream.answer-invalid`.
 */
export function hopTo(endpointUrl: string, target: string | null, base: URL): URL {
  const endpoint = new URL(endpointUrl)
  const url = target !== null && URL.canParse(target, base.href) ? new URL(target, base) : undefined
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && endpoint.protocol === 'http:')
  const isPublic = url !== undefined && (!isLocalHost(url.hostname) || isLocalHost(endpoint.hostname))
  if (url && isSafe && isPublic && url.username === '' && url.password === '') return url
  throw new SlipwayError('upstream.answer-invalid', `${endpoint.host} sends us to an address that is not followed.`)
}
