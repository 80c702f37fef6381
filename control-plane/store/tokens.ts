import { asc, eq, gt, isNull } from 'drizzle-orm'
import type { TokenId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { tokens } from './schema.ts'

export type TokenRow = typeof tokens.$inferSelect

export function findTokenByHash(db: Database, hash: string): Promise<TokenRow | undefined> {
  return db.select().from(tokens).where(eq(tokens.hash, hash)).get()
}

export function insertToken(db: Database, token: TokenRow) {
  return db.insert(tokens).values(token)
}

/** Two first requests at once may both bring it. */
export function insertTokenOnce(db: Database, token: TokenRow) {
  return db.insert(tokens).values(token).onConflictDoNothing()
}

export function listTokens(db: Database, afterId: string, limit: number): Promise<TokenRow[]> {
  return db
    .select()
    .from(tokens)
    .where(gt(tokens.id, afterId as TokenId))
    .orderBy(asc(tokens.id))
    .limit(limit)
}

export async function hasOperatorToken(db: Database): Promise<boolean> {
  return (await db.select({ id: tokens.id }).from(tokens).where(isNull(tokens.hostId)).limit(1)).length > 0
}

export async function deleteToken(db: Database, id: string): Promise<boolean> {
  const gone = await db
    .delete(tokens)
    .where(eq(tokens.id, id as TokenId))
    .returning({ id: tokens.id })
  return gone.length > 0
}
