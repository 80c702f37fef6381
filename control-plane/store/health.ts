import { sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import { hosts } from './schema.ts'

/** Throws when the store does not answer, or has not got its tables. */
export async function checkStore(db: Database): Promise<void> {
  await db.select({ one: sql`1` }).from(hosts).limit(1)
}
