import { asc, eq, gt, sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import { secrets } from './schema.ts'

export type SecretRow = typeof secrets.$inferSelect

/** Sets it anew where it is there; it keeps the time when it was made. */
export async function setSecret(
  db: Database,
  name: string,
  sealed: string,
  now: number,
): Promise<SecretRow | undefined> {
  const set = await db
    .insert(secrets)
    .values({ name, sealed, createdAt: now, updatedAt: now })
    .onConflictDoUpdate({ target: secrets.name, set: { sealed, updatedAt: now } })
    .returning()
  return set[0]
}

export function findSecrets(db: Database, names: readonly string[]): Promise<SecretRow[]> {
  return db
    .select()
    .from(secrets)
    .where(sql`${secrets.name} in (select value from json_each(${JSON.stringify(names)}))`)
}

export function listSecrets(db: Database, afterName: string, limit: number): Promise<SecretRow[]> {
  return db.select().from(secrets).where(gt(secrets.name, afterName)).orderBy(asc(secrets.name)).limit(limit)
}

export async function deleteSecret(db: Database, name: string): Promise<boolean> {
  return (await db.delete(secrets).where(eq(secrets.name, name)).returning({ name: secrets.name })).length > 0
}
