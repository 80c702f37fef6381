import type { HostId, Random, TokenId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { findTokenByHash } from '../store/tokens.ts'

/** Who asks: an operator, or the agent of one host. */
export interface Principal {
  tokenId: TokenId
  hostId: HostId | null
  /** What it may do in the registry, and nowhere else; null for everything. */
  scopes: string[] | null
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** `slw_` and 160 random bits: too many to guess, so a plain hash at rest is enough. */
export function newToken(random: Random): string {
  return `slw_${Array.from(random(new Uint8Array(32)), byte => ALPHABET[byte & 31]).join('')}`
}

export function isToken(text: string): boolean {
  return /^slw_[a-z2-7]{32}$/.test(text)
}

export async function hashToken(token: string): Promise<string> {
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token))
  return Array.from(new Uint8Array(hash), byte => byte.toString(16).padStart(2, '0')).join('')
}

/** Reads an `Authorization` header: a bearer token, or as the password of Basic, where the user is anything. */
export function tokenOf(header: string | undefined): string | undefined {
  const [, scheme = '', value = ''] = /^(Bearer|Basic) +(\S+)$/i.exec(header ?? '') ?? []
  if (scheme.toLowerCase() !== 'basic') return value || undefined
  try {
    return atob(value).split(':').slice(1).join(':') || undefined
  } catch {
    return undefined
  }
}

/** Looking a hash up leaks nothing about the token by its timing. Errors: `auth.token-missing`, `auth.token-invalid`. */
export async function authenticate(ports: Ports, header: string | undefined): Promise<Principal> {
  const token = tokenOf(header)
  if (!token) {
    throw new SlipwayError('auth.token-missing', 'Send a token with each request: Authorization: Bearer slw_….')
  }
  const row = await findTokenByHash(ports.db, await hashToken(token))
  if (row) return { tokenId: row.id, hostId: row.hostId, scopes: row.scopes }
  throw new SlipwayError('auth.token-invalid', 'This token is not known. Ask an operator for one (POST /v1/tokens).')
}
