import { newId, type TokenId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { TokenView } from '#shared/protocol/tokens.ts'
import type { Ports } from '../ports.ts'
import {
  deleteToken,
  hasOperatorToken,
  insertToken,
  insertTokenOnce,
  listTokens,
  type TokenRow,
} from '../store/tokens.ts'
import { iso } from './container-view.ts'
import { type Creation, createOnce } from './idempotency.ts'
import { pageByName } from './page-position.ts'
import { hashToken, newToken } from './principal.ts'

/** A token; it is in the answer alone, the store keeps its hash. Errors: `idempotency.secret-shown-once`. */
export async function createToken(ports: Ports, name: string, scopes: string[] | null, creation: Creation) {
  const token = newToken(ports.random)
  const row = await tokenRow(ports, name, token, scopes)
  const { isReplayed } = await createOnce(ports, creation, row.id, async record => {
    await ports.db.batch([insertToken(ports.db, row), ...record])
  })
  if (!isReplayed) return { ...viewToken(row), token }
  throw new SlipwayError(
    'idempotency.secret-shown-once',
    'This token was made by an earlier request, which alone got it. Revoke it, and make another with another key.',
  )
}

async function tokenRow(ports: Ports, name: string, token: string, scopes: string[] | null): Promise<TokenRow> {
  const id = newId<TokenId>(ports.random)
  return { id, name, hash: await hashToken(token), hostId: null, scopes, createdAt: ports.clock.now() }
}

/** Takes a token in as the first operator's of a new store. False when there is one already. */
export async function createFirstToken(ports: Ports, token: string): Promise<boolean> {
  if (await hasOperatorToken(ports.db)) return false
  await insertTokenOnce(ports.db, await tokenRow(ports, 'first', token, null))
  return true
}

export async function removeToken(ports: Ports, id: string): Promise<void> {
  if (!(await deleteToken(ports.db, id))) {
    throw new SlipwayError('token.not-found', `There is no token ${id}. GET /v1/tokens lists them.`)
  }
}

export function listTokenPage(ports: Ports, limit: number, cursor: string | undefined) {
  return pageByName(
    { limit, cursor },
    (after, count) => listTokens(ports.db, after, count),
    viewToken,
    ({ id }) => id,
  )
}

function viewToken({ id, name, hostId, scopes, createdAt }: TokenRow): TokenView {
  return { id, name, hostId: hostId ?? undefined, scopes: scopes ?? undefined, createdAt: iso(createdAt) }
}
