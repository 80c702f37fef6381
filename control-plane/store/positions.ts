import { eq } from 'drizzle-orm'
import type { Database } from './database.ts'
import { sweepPositions } from './schema.ts'

/** Where a sweep goes on; what it was when it was written is for the reader to check. */
export async function findPosition(db: Database, name: string): Promise<unknown> {
  const row = await db.select().from(sweepPositions).where(eq(sweepPositions.name, name)).get()
  return row?.position
}

export async function savePosition(db: Database, name: string, position: unknown): Promise<void> {
  await db
    .insert(sweepPositions)
    .values({ name, position })
    .onConflictDoUpdate({ target: sweepPositions.name, set: { position } })
}
