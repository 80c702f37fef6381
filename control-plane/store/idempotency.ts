import { and, eq, lt } from 'drizzle-orm'
import type { TokenId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { idempotencyKeys } from './schema.ts'

export type IdempotencyRow = typeof idempotencyKeys.$inferSelect

export function findIdempotencyKey(db: Database, tokenId: TokenId, key: string): Promise<IdempotencyRow | undefined> {
  return db
    .select()
    .from(idempotencyKeys)
    .where(and(eq(idempotencyKeys.tokenId, tokenId), eq(idempotencyKeys.key, key)))
    .get()
}

export function insertIdempotencyKey(db: Database, row: IdempotencyRow) {
  return db.insert(idempotencyKeys).values(row)
}

export function deleteIdempotencyKeysBefore(db: Database, createdAt: number) {
  return db.delete(idempotencyKeys).where(lt(idempotencyKeys.createdAt, createdAt))
}
