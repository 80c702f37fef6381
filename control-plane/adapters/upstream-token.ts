import { z } from 'zod'
import type { Endpoint } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import { readBounded } from '#shared/read-bounded.ts'
import { hopTo } from './upstream-hop.ts'

/** Docker's "Token Authentication Specification": how a registry asks for a token, and how one is had. */

/** What an endpoint answered 401 with. */
export type Challenge =
  | { scheme: 'bearer'; realm: string; service: string | undefined; scope: string | undefined }
  | { scheme: 'basic' }

export interface Authorization {
  header: string
  expiresAt: number
}

/** The specification: a token without `expires_in` is good for 60 seconds. */
const LIFE_S = 60
const MARGIN_S = 5
const ANSWER_LIMIT = 256 * 1024
const answerSchema = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().nullish(),
})

/** Bearer where it is offered, else Basic. */
export function readChallenge(header: string | null): Challenge | undefined {
  const at = header?.search(/\bbearer\s/i) ?? -1
  if (header && at >= 0) {
    const fields = new Map(
      [...header.slice(at).matchAll(/([a-z]+)="([^"]*)"/gi)].map(([, name = '', value = '']) => [
        name.toLowerCase(),
        value,
      ]),
    )
    const realm = fields.get('realm')
    return realm ? { scheme: 'bearer', realm, service: fields.get('service'), scope: fields.get('scope') } : undefined
  }
  return header && /\bbasic\b/i.test(header) ? { scheme: 'basic' } : undefined
}

/**
 * Meets an endpoint's challenge. Its credentials, if it has any, go to the token server that it names and to no other.
 * Errors: `upstream.denied`, `upstream.unreachable`, `upstream.answer-invalid`.
 */
export async function authorize(
  endpoint: Endpoint,
  challenge: Challenge,
  repository: string,
  now: number,
  signal: AbortSignal,
): Promise<Authorization> {
  const basic = basicOf(endpoint)
  if (challenge.scheme === 'basic') {
    if (basic) return { header: basic, expiresAt: Number.POSITIVE_INFINITY }
    throw denied(endpoint, 'it asks for credentials')
  }
  const url = hopTo(endpoint.url, challenge.realm, new URL(endpoint.url))
  if (challenge.service !== undefined) url.searchParams.set('service', challenge.service)
  url.searchParams.set('scope', challenge.scope ?? `repository:${repository}:pull`)
  const response = await askRealm(url, basic, signal)
  if (response.status === 401 || response.status === 403) throw denied(endpoint, 'its token server gives us no token')
  const { token, seconds } = await readToken(endpoint, response)
  return { header: `Bearer ${token}`, expiresAt: now + (seconds - MARGIN_S) * 1000 }
}

async function askRealm(url: URL, basic: string | undefined, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(url, { redirect: 'manual', headers: basic ? { authorization: basic } : {}, signal })
  } catch (cause) {
    throw new SlipwayError('upstream.unreachable', `The token server ${url.host} does not answer.`, { cause })
  }
}

async function readToken(endpoint: Endpoint, response: Response): Promise<{ token: string; seconds: number }> {
  const bytes = await readBounded(response.body, ANSWER_LIMIT)
  const text = bytes && response.ok ? new TextDecoder().decode(bytes) : ''
  const read = answerSchema.safeParse(parseJson(text))
  const token = read.data?.token ?? read.data?.access_token
  if (token) return { token, seconds: Math.max(read.data?.expires_in ?? LIFE_S, LIFE_S) }
  const code = response.status >= 500 || response.status === 429 ? 'upstream.unreachable' : 'upstream.answer-invalid'
  throw new SlipwayError(
    code,
    `The token server of ${new URL(endpoint.url).host} answered ${response.status}, no token.`,
  )
}

function basicOf({ username, password }: Endpoint): string | undefined {
  if (username === undefined || password === undefined) return undefined
  const bytes = new TextEncoder().encode(`${username}:${password}`)
  return `Basic ${btoa(String.fromCharCode(...bytes))}`
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // Without the parser's sentence, which quotes what may be half a token.
  }
}

export function denied(endpoint: Endpoint, why: string): SlipwayError {
  const host = new URL(endpoint.url).host
  const advice =
    endpoint.username === undefined ? 'configure credentials for it' : 'see whether its credentials are right'
  return new SlipwayError(
    'upstream.denied',
    `${host} does not let us read this (${why}): it is not there, or not for us; ${advice}.`,
  )
}
