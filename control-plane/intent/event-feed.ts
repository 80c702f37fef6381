import type { EventView } from '#shared/protocol/events.ts'
import type { Ports } from '../ports.ts'
import { type EventFilter, eventsAfter, lastEventSeq } from '../store/events.ts'
import { iso } from './container-view.ts'

const AT_ONCE = 500

/** Events after a sequence number, oldest first, at most 500. */
export async function eventFeed(ports: Ports, after: number, filter: EventFilter): Promise<EventView[]> {
  const rows = await eventsAfter(ports.db, after, filter, AT_ONCE)
  return rows.map(({ seq, at, type, subjectId, data }) => ({ seq, at: iso(at), type, subjectId, data }))
}

/** Where a reader that names no position begins: at what comes next. */
export function feedStart(ports: Ports): Promise<number> {
  return lastEventSeq(ports.db)
}
