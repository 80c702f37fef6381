import type { BatchItem } from 'drizzle-orm/batch'
import type { DrizzleD1Database } from 'drizzle-orm/d1'
import { drizzle } from 'drizzle-orm/d1'
import * as schema from './schema.ts'

/**
 * The one way to the store: drizzle's D1 driver, over D1 itself or over the look-alike on `node:sqlite`. D1 has no
 * interactive transaction: what must be atomic goes into one `db.batch([...])`; at most 100 bound parameters a statement.
 */
export type Database = DrizzleD1Database<typeof schema>

/** One of those that a batch is made of. */
export type Statement = BatchItem<'sqlite'>

/** The part of D1's client API that drizzle uses. */
export type D1Like = Parameters<typeof drizzle>[0]

export function openDatabase(client: D1Like): Database {
  return drizzle(client, { schema, casing: 'snake_case' })
}
