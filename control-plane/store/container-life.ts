import { and, desc, eq, inArray, sql } from 'drizzle-orm'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import type { ContainerRow } from './containers.ts'
import type { Database } from './database.ts'
import { generationOf } from './hosts.ts'
import { containers, events, hosts } from './schema.ts'

/** Renames unless somebody else changed the container since it was read; the unique index refuses a name that is taken. */
export function updateName(db: Database, row: ContainerRow, name: string) {
  return db
    .update(containers)
    .set({ name, generation: generationOf(row.hostId) })
    .where(and(eq(containers.id, row.id), eq(containers.generation, row.generation)))
    .returning({ id: containers.id })
}

/** Tells of it in its own batch, behind it: only where that changed the container. */
export function insertRenameEvent(db: Database, row: ContainerRow, at: number, name: string) {
  const data = JSON.stringify({ name, oldName: row.name })
  return db.insert(events).select(sql`select null, ${at}, 'container.rename', id, ${data}
    from containers where id = ${row.id} and generation = ${generationOf(row.hostId)}`)
}

/** Those of a host that were to be removed after their end, as far as they have come to it and are not to run again. */
const hasHadItsTime = (hostId: HostId, ids: readonly ContainerId[]) =>
  and(
    eq(containers.hostId, hostId),
    sql`${containers.id} in (select value from json_each(${JSON.stringify(ids)}))`,
    sql`${containers.spec} ->> 'isAutoRemoved'`,
    sql`${containers.goal} ->> 'kind' in ('running', 'paused', 'stopped')`,
    sql`${containers.observed} ->> 'state' = 'exited'`,
    sql`${containers.observed} ->> 'run' >= ${containers.goal} ->> 'run'`,
  )

/**
 * Has containers removed that have ended, behind the statement that records their end. Whoever orders another run at the same
 * moment keeps them: goal and end are compared where they are.
 */
export function removeEnded(db: Database, hostId: HostId, ids: readonly ContainerId[]) {
  const ended = db.select({ hostId: containers.hostId }).from(containers).where(hasHadItsTime(hostId, ids))
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(inArray(hosts.id, ended)),
    db
      .update(containers)
      .set({ goal: { kind: 'removed', isForced: false }, generation: generationOf(hostId) })
      .where(hasHadItsTime(hostId, ids)),
  ] as const
}

/** How a container ended last, after an event: its own row may be gone by then. Events are kept for a while. */
export function lastEnd(db: Database, id: ContainerId, afterSeq: number) {
  return db
    .select({ data: events.data })
    .from(events)
    .where(and(eq(events.subjectId, id), eq(events.type, 'container.die'), sql`${events.seq} > ${afterSeq}`))
    .orderBy(desc(events.seq))
    .limit(1)
    .get()
}

/** The host and name of each of these containers, in no order. */
export function findContainers(db: Database, idsOrNames: readonly string[]) {
  const wanted = JSON.stringify(idsOrNames)
  return db
    .select({ id: containers.id, name: containers.name, hostId: containers.hostId, goal: containers.goal })
    .from(containers)
    .where(
      sql`${containers.id} in (select value from json_each(${wanted})) or ${containers.name} in (select value from json_each(${wanted}))`,
    )
}
