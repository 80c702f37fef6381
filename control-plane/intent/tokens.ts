import { newId, type TokenId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { TokenView } from '#shared/protocol/tokens.ts'
import type { Ports } from '../ports.ts'
import { deleteToken, hasOperatorToken, insertToken, listTokens, type TokenRow } from '../store/tokens.ts'
import { iso } from './container-view.ts'
import { decodeCursor, page } from './page-position.ts'
import { hashToken, newToken } from './principal.ts'

/** An operator's token; it is in the answer alone, the store keeps its hash. */
export async function createToken(ports: Ports, name: string, scopes: string[] | null, token = newToken(ports.random)) {
  const row = {
    id: newId<TokenId>(ports.random),
    name,
    hash: await hashToken(token),
    hostId: null,
    scopes,
    createdAt: ports.clock.now(),
  }
  await insertToken(ports.db, row)
  return { ...viewToken(row), token }
}

/** The first operator token of a new store; undefined when there is one already. */
export async function createFirstToken(ports: Ports, token?: string): Promise<string | undefined> {
  if (await hasOperatorToken(ports.db)) return undefined
  return (await createToken(ports, 'first', null, token)).token
}

export async function removeToken(ports: Ports, id: string): Promise<void> {
  if (!(await deleteToken(ports.db, id))) {
    throw new SlipwayError('token.not-found', `There is no token ${id}. GET /v1/tokens lists them.`)
  }
}

const isId = (value: unknown): value is string => typeof value === 'string'

export function listTokenPage(ports: Ports, limit: number, cursor: string | undefined) {
  const after = decodeCursor(cursor, '', isId)
  return page(
    limit,
    count => listTokens(ports.db, after, count),
    viewToken,
    ({ id }) => id,
  )
}

function viewToken({ id, name, hostId, scopes, createdAt }: TokenRow): TokenView {
  return { id, name, hostId: hostId ?? undefined, scopes: scopes ?? undefined, createdAt: iso(createdAt) }
}
