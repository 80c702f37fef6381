import { eq, lt } from 'drizzle-orm'
import type { ContextId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { contexts } from './schema.ts'

export type ContextRow = typeof contexts.$inferSelect

export function findContext(db: Database, id: string): Promise<ContextRow | undefined> {
  return db
    .select()
    .from(contexts)
    .where(eq(contexts.id, id as ContextId))
    .get()
}

export function insertContext(db: Database, row: ContextRow) {
  return db.insert(contexts).values(row)
}

export function expiredContexts(db: Database, now: number, limit: number): Promise<ContextRow[]> {
  return db.select().from(contexts).where(lt(contexts.expiresAt, now)).limit(limit)
}

export function deleteContext(db: Database, id: ContextId) {
  return db.delete(contexts).where(eq(contexts.id, id))
}
