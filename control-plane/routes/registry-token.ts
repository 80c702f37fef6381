import type { Context } from 'hono'
import { allows, parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import { readBounded } from '#shared/read-bounded.ts'
import { authenticate, type Principal, tokenOf } from '../intent/principal.ts'
import type { Ports } from '../ports.ts'
import { repositoryNames } from '../registry/repositories.ts'
import type { AppEnv } from './environment.ts'
import { linkTo, pageSize } from './registry-paging.ts'

/** Clients ask again after this; our tokens last until they are revoked, and are looked up with each request. */
const EXPIRES_S = 3600
const FORM_LIMIT = 16 * 1024

/**
 * Docker's token endpoint (distribution, "Token Authentication"), GET with Basic or OAuth2's POST: the bearer token is the
 * Slipway token itself, whose scopes are checked at each request, so that a revoked one is worth nothing at once.
 */
export async function tokenAnswer(c: Context<AppEnv>): Promise<Response> {
  const header = c.req.method === 'POST' ? await authorizationOfForm(c) : c.req.header('authorization')
  await authenticateClient(c.get('ports'), header)
  const token = tokenOf(header) ?? ''
  c.header('Cache-Control', 'no-store')
  const issued = new Date(c.get('ports').clock.now()).toISOString()
  return c.json({ token, access_token: token, expires_in: EXPIRES_S, issued_at: issued })
}

/** Clients of registries show the message to a person, who knows `docker login` and no headers. Errors: `authenticate`'s. */
export function authenticateClient(ports: Ports, header: string | undefined): Promise<Principal> {
  if (tokenOf(header) !== undefined) return authenticate(ports, header)
  throw new SlipwayError('auth.token-missing', 'Log in first (docker login), with a Slipway token as the password.')
}

async function authorizationOfForm(c: Context<AppEnv>): Promise<string | undefined> {
  const bytes = await readBounded(c.get('bodyOf')(), FORM_LIMIT)
  if (!bytes) throw new SlipwayError('request.too-large', 'A form for a token has at most 16 KiB.')
  const form = new URLSearchParams(new TextDecoder().decode(bytes))
  const secret = form.get(form.get('grant_type') === 'refresh_token' ? 'refresh_token' : 'password')
  return secret ? `Bearer ${secret}` : c.req.header('authorization')
}

/** What a client without a token is told: where to get one, and for what. */
export function challengeOf(c: Context<AppEnv>): string {
  const { publicUrl } = c.get('ports').config
  const asked = new URL(c.req.url)
  // Behind a proxy that ends TLS we are asked over http: a token must not be sent that way all the same.
  const ours = new URL(publicUrl)
  const other = ours.protocol === 'https:' ? `https://${asked.host}` : asked.origin
  const origin = ours.hostname === asked.hostname ? publicUrl : other
  const name = /^\/v2\/(.+?)\/(?:blobs|manifests|tags|referrers)\//.exec(c.req.path)?.[1]
  const actions = ['GET', 'HEAD'].includes(c.req.method) ? 'pull' : 'pull,push'
  const scope = name ? `,scope="repository:${name.replaceAll(/[^a-z0-9/._:-]/g, '')}:${actions}"` : ''
  return `Bearer realm="${origin}/v2/token",service="slipway"${scope}`
}

/** `GET /v2/_catalog`: Docker's list of repositories, those that the token may pull from. */
export async function repositoriesOf(c: Context<AppEnv>): Promise<Response> {
  const { scopes } = c.get('principal')
  const limit = pageSize(c.req.query('n'))
  const isVisible = (name: string) => allows(scopes, parseRepository(name), 'pull')
  const { names, next } = await repositoryNames(c.get('ports'), c.req.query('last') ?? '', limit, isVisible)
  if (next !== undefined) c.header('Link', linkTo('/v2/_catalog', { n: String(limit), last: next }))
  return c.json({ repositories: names })
}
