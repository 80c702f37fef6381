import { and, asc, desc, eq, gt, like, lte, sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import { events } from './schema.ts'

export type EventRow = typeof events.$inferSelect
export type NewEvent = Pick<EventRow, 'at' | 'type' | 'subjectId' | 'data'>

/** All in one statement and one bound value, however many they are. */
export function insertEvents(db: Database, list: readonly NewEvent[]) {
  return db
    .insert(events)
    .select(sql`select null, value ->> 'at', value ->> 'type', value ->> 'subjectId', value -> 'data'
    from json_each(${JSON.stringify(list)})`)
}

export interface EventFilter {
  /** `container` or `container.start`. */
  type?: string | undefined
  subjectId?: string | undefined
}

export function eventsAfter(db: Database, seq: number, filter: EventFilter, limit: number): Promise<EventRow[]> {
  const type = filter.type?.includes('.') ? eq(events.type, filter.type) : like(events.type, `${filter.type}.%`)
  return db
    .select()
    .from(events)
    .where(
      and(
        gt(events.seq, seq),
        filter.type ? type : undefined,
        filter.subjectId ? eq(events.subjectId, filter.subjectId) : undefined,
      ),
    )
    .orderBy(asc(events.seq))
    .limit(limit)
}

export async function lastEventSeq(db: Database): Promise<number> {
  const last = await db.select({ seq: events.seq }).from(events).orderBy(desc(events.seq)).limit(1).get()
  return last?.seq ?? 0
}

export function deleteEventsUpTo(db: Database, seq: number) {
  return db.delete(events).where(lte(events.seq, seq))
}
