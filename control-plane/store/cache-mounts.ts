import { asc, eq, gt, lt, type SQLWrapper, sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import { cacheMounts } from './schema.ts'

export type CacheMountRow = typeof cacheMounts.$inferSelect

/** A saved cache mount is this blob. */
export const isOfCacheMount = (digest: SQLWrapper) =>
  sql`exists (select 1 from cache_mounts c where c.digest = ${digest})`

/** Finds one, and notes that it was used. */
export async function useCacheMount(db: Database, key: string, now: number): Promise<CacheMountRow | undefined> {
  return (await db.update(cacheMounts).set({ usedAt: now }).where(eq(cacheMounts.key, key)).returning())[0]
}

/** In place of what was saved under its key before. */
export async function putCacheMount(db: Database, row: CacheMountRow): Promise<void> {
  await db.insert(cacheMounts).values(row).onConflictDoUpdate({ target: cacheMounts.key, set: row })
}

export function listCacheMounts(db: Database, afterKey: string, limit: number): Promise<CacheMountRow[]> {
  return db.select().from(cacheMounts).where(gt(cacheMounts.key, afterKey)).orderBy(asc(cacheMounts.key)).limit(limit)
}

export async function deleteCacheMount(db: Database, key: string): Promise<boolean> {
  return (await db.delete(cacheMounts).where(eq(cacheMounts.key, key)).returning({ key: cacheMounts.key })).length > 0
}

/** Those that nobody used since `before`, and of the others the longest unused beyond `maxBytes` in all or `maxCount`. */
export function deleteCacheMountsBeyond(db: Database, bounds: { before: number; maxBytes: number; maxCount: number }) {
  const inOrder = sql`select key, sum(size) over later as bytes, count(*) over later as place from cache_mounts
    window later as (order by used_at desc, key)`
  return db.batch([
    db.delete(cacheMounts).where(lt(cacheMounts.usedAt, bounds.before)),
    db
      .delete(cacheMounts)
      .where(
        sql`${cacheMounts.key} in (select key from (${inOrder}) where bytes > ${bounds.maxBytes} or place > ${bounds.maxCount})`,
      ),
  ])
}
