import type { Endpoint } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import { hopTo } from './upstream-hop.ts'
import { rateLimited, readRetryAfter } from './upstream-rate-limit.ts'
import { type Authorization, authorize, denied, readChallenge } from './upstream-token.ts'

/** One request to one endpoint: authorization as it asks for it, redirects, and its failures as our errors. */

export interface Call {
  method: 'GET' | 'HEAD'
  registry: string
  repository: string
  /** Below the repository: `manifests/12`. */
  path: string
  headers: Record<string, string>
}

/** What one process knows of its upstreams; losing it costs a request or two. */
export interface Memory {
  /** By endpoint and repository. */
  tokens: Map<string, Authorization>
  /** Endpoints that answered 429, with what to say until they may be asked again. */
  limited: Map<string, { until: number; error: SlipwayError }>
}

const HOPS = 5
const TOKENS_KEPT = 1000
const REDIRECTS = [301, 302, 303, 307, 308]

/** The answer, good or 304. Errors: those of the port. */
export async function callEndpoint(
  endpoint: Endpoint,
  call: Call,
  memory: Memory,
  clock: Clock,
  signal: AbortSignal,
): Promise<Response> {
  const limited = memory.limited.get(endpoint.url)
  if (limited && limited.until > clock.now()) throw limited.error
  const key = `${endpoint.url} ${call.repository}`
  const kept = memory.tokens.get(key)
  let { response, isHome } = await follow(endpoint, call, freshHeader(kept, clock.now()), signal)
  const challenge =
    response.status === 401 && isHome ? readChallenge(response.headers.get('www-authenticate')) : undefined
  if (challenge) {
    await response.body?.cancel()
    const made = await authorize(endpoint, challenge, call.repository, clock.now(), signal)
    if (memory.tokens.size >= TOKENS_KEPT) memory.tokens.clear()
    memory.tokens.set(key, made)
    response = (await follow(endpoint, call, made.header, signal)).response
  }
  if (response.ok || response.status === 304) return response
  await response.body?.cancel()
  throw failureOf(endpoint, call, response, memory, clock.now())
}

const freshHeader = (kept: Authorization | undefined, now: number) =>
  kept && kept.expiresAt > now ? kept.header : undefined

/** Authorization stays with the endpoint's own origin: storage that it redirects to has a signed URL of its own. */
async function follow(endpoint: Endpoint, call: Call, authorization: string | undefined, signal: AbortSignal) {
  let url = new URL(`${endpoint.url}/v2/${call.repository}/${call.path}`)
  const { origin } = url
  let isHome = true
  for (let hops = 0; hops <= HOPS; hops++) {
    isHome &&= url.origin === origin
    const headers = { ...call.headers, ...(isHome && authorization ? { authorization } : {}) }
    const response = await reach(endpoint, url, { method: call.method, headers, redirect: 'manual', signal })
    if (!REDIRECTS.includes(response.status)) return { response, isHome }
    await response.body?.cancel()
    url = hopTo(endpoint.url, response.headers.get('location'), url)
  }
  throw new SlipwayError('upstream.answer-invalid', `${new URL(endpoint.url).host} redirects us without end.`)
}

async function reach(endpoint: Endpoint, url: URL, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init)
  } catch (cause) {
    // Its host alone: a redirect's query is a key to somebody's storage.
    const via = url.host === new URL(endpoint.url).host ? '' : ` (by way of ${url.host})`
    const message = `${new URL(endpoint.url).host}${via} does not answer: try again later.`
    throw new SlipwayError('upstream.unreachable', message, { cause })
  }
}

function failureOf(endpoint: Endpoint, call: Call, { status, headers }: Response, memory: Memory, now: number) {
  const { host } = new URL(endpoint.url)
  if (status === 404) {
    const [, reference = call.path] = call.path.split('/') // `manifests/TAG`, `blobs/DIGEST`.
    const name = `${call.repository}${reference.includes(':') ? '@' : ':'}${reference}`
    return new SlipwayError('upstream.not-found', `${call.registry} has no ${name}.`)
  }
  if (status === 401 || status === 403) return denied(endpoint, `it answered ${status}`)
  if (status === 429) {
    const retryAfterS = readRetryAfter(headers.get('retry-after'), now)
    const error = rateLimited(call.registry, headers, retryAfterS, endpoint.username !== undefined)
    memory.limited.set(endpoint.url, { until: now + retryAfterS * 1000, error })
    return error
  }
  if (status >= 500) return new SlipwayError('upstream.unreachable', `${host} answered ${status}: try again later.`)
  return new SlipwayError('upstream.answer-invalid', `${host} answered ${status}, which is no answer to this.`)
}
