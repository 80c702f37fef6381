import { and, asc, desc, eq, gt, or, sql } from 'drizzle-orm'
import type { ContainerGoal, SignalOrder } from '#shared/domain/container.ts'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { generationOf } from './hosts.ts'
import { containers, hosts, publishedPorts } from './schema.ts'

export type ContainerRow = typeof containers.$inferSelect
export interface ContainerOnHost {
  container: ContainerRow
  host: typeof hosts.$inferSelect
}

const joined = (db: Database) =>
  db.select({ container: containers, host: hosts }).from(containers).innerJoin(hosts, eq(hosts.id, containers.hostId))

export function findContainer(db: Database, idOrName: string): Promise<ContainerOnHost | undefined> {
  return joined(db)
    .where(or(eq(containers.id, idOrName as ContainerId), eq(containers.name, idOrName)))
    .orderBy(desc(eq(containers.id, idOrName as ContainerId))) // Should one's name be another's id, the id is meant.
    .get()
}

export function findContainerById(db: Database, id: ContainerId): Promise<ContainerOnHost | undefined> {
  return joined(db).where(eq(containers.id, id)).get()
}

export interface ListPosition {
  createdAt: number
  id: string
}

/** A page in the order of creation, after a position. */
export function listContainers(
  db: Database,
  after: ListPosition,
  limit: number,
  hostId: HostId | undefined,
): Promise<ContainerOnHost[]> {
  const isLater = or(
    gt(containers.createdAt, after.createdAt),
    and(eq(containers.createdAt, after.createdAt), gt(containers.id, after.id as ContainerId)),
  )
  return joined(db)
    .where(and(isLater, hostId ? eq(containers.hostId, hostId) : undefined))
    .orderBy(asc(containers.createdAt), asc(containers.id))
    .limit(limit)
}

export function changedContainers(db: Database, hostId: HostId, since: number): Promise<ContainerRow[]> {
  return db
    .select()
    .from(containers)
    .where(and(eq(containers.hostId, hostId), gt(containers.generation, since)))
}

export async function takenAddresses(db: Database, hostId: HostId): Promise<Set<number>> {
  const rows = await db.select({ index: containers.addressIndex }).from(containers).where(eq(containers.hostId, hostId))
  return new Set(rows.map(({ index }) => index))
}

export type NewContainer = Pick<ContainerRow, 'id' | 'name' | 'hostId' | 'spec' | 'goal' | 'addressIndex' | 'createdAt'>

export function insertContainer(db: Database, row: NewContainer) {
  return db.insert(containers).values({ ...row, generation: generationOf(row.hostId) })
}

/** One row a published port; the primary key refuses a port that is held already. */
export function insertPorts(db: Database, row: NewContainer) {
  const ports = row.spec.ports.map(({ protocol, hostPort }) => ({ protocol, hostPort }))
  return db
    .insert(publishedPorts)
    .select(sql`select ${row.hostId}, value ->> 'protocol', value ->> 'hostPort', ${row.id}
    from json_each(${JSON.stringify(ports)})`)
}

/** The containers that hold these ports of a host, with the port. */
export function portHolders(db: Database, hostId: HostId, ports: readonly { protocol: string; hostPort: number }[]) {
  const wanted = JSON.stringify(ports.map(({ protocol, hostPort }) => `${protocol}/${hostPort}`))
  return db
    .select({ name: containers.name, protocol: publishedPorts.protocol, hostPort: publishedPorts.hostPort })
    .from(publishedPorts)
    .innerJoin(containers, eq(containers.id, publishedPorts.containerId))
    .where(
      and(
        eq(publishedPorts.hostId, hostId),
        sql`${publishedPorts.protocol} || '/' || ${publishedPorts.hostPort} in (select value from json_each(${wanted}))`,
      ),
    )
}

/** Sets a goal unless somebody else changed the container since it was read. */
export function updateGoal(
  db: Database,
  row: ContainerRow,
  change: { goal: ContainerGoal; signal: SignalOrder | null },
) {
  return db
    .update(containers)
    .set({ ...change, generation: generationOf(row.hostId) })
    .where(and(eq(containers.id, row.id), eq(containers.generation, row.generation)))
    .returning({ id: containers.id })
}
