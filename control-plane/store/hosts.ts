import { asc, eq, gt, or, sql } from 'drizzle-orm'
import type { HostId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { containers, hosts, tokens } from './schema.ts'

export type HostRow = typeof hosts.$inferSelect

export function findHost(db: Database, idOrName: string): Promise<HostRow | undefined> {
  return db
    .select()
    .from(hosts)
    .where(or(eq(hosts.id, idOrName as HostId), eq(hosts.name, idOrName)))
    .get()
}

/** A page by name: names never change, so a page never skips or repeats a host. */
export function listHosts(db: Database, afterName: string, limit: number): Promise<HostRow[]> {
  return db.select().from(hosts).where(gt(hosts.name, afterName)).orderBy(asc(hosts.name)).limit(limit)
}

/** Every host with how many containers it is asked to hold. Costs a row a host: placement looks at all. */
export function hostsWithLoad(db: Database): Promise<{ host: HostRow; load: number }[]> {
  const load = sql<number>`(select count(*) from ${containers} where ${containers.hostId} = ${hosts.id})`
  return db.select({ host: hosts, load }).from(hosts)
}

/** The lowest free position in the address pool is chosen inside the statement; the unique index decides races. */
export function insertHost(db: Database, host: Pick<HostRow, 'id' | 'name' | 'createdAt'>) {
  const subnetIndex = sql<number>`(select coalesce(min(candidate), 0) from (
    select 0 as candidate union all select subnet_index + 1 from hosts
  ) where candidate not in (select subnet_index from hosts))`
  return db.insert(hosts).values({ ...host, subnetIndex })
}

export function deleteHost(db: Database, id: HostId) {
  return db.batch([db.delete(tokens).where(eq(tokens.hostId, id)), db.delete(hosts).where(eq(hosts.id, id))])
}

/** Goes first into each batch that changes what a host should hold; later statements read `generationOf`. */
export function bumpGeneration(db: Database, id: HostId) {
  return db
    .update(hosts)
    .set({ generation: sql`${hosts.generation} + 1` })
    .where(eq(hosts.id, id))
}

export function generationOf(id: HostId) {
  return sql<number>`(select generation from hosts where id = ${id})`
}
