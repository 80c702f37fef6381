import { and, asc, desc, eq, gt, or, sql } from 'drizzle-orm'
import type { HostId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { buildLogs, builds, commitStatuses, containers, hosts, publishedPorts, tokens } from './schema.ts'

export type HostRow = typeof hosts.$inferSelect

export function findHost(db: Database, idOrName: string): Promise<HostRow | undefined> {
  return db
    .select()
    .from(hosts)
    .where(or(eq(hosts.id, idOrName as HostId), eq(hosts.name, idOrName)))
    .orderBy(desc(eq(hosts.id, idOrName as HostId))) // Should one's name be another's id, the id is meant.
    .get()
}

/** A page by name: names never change, so a page never skips or repeats a host. */
export function listHosts(db: Database, afterName: string, limit: number): Promise<HostRow[]> {
  return db.select().from(hosts).where(gt(hosts.name, afterName)).orderBy(asc(hosts.name)).limit(limit)
}

/** Every host with how many containers and unfinished builds it is asked to hold. Costs a row a host: placement looks at all. */
export function hostsWithLoad(db: Database): Promise<{ host: HostRow; load: number }[]> {
  // Written out: within a selection drizzle names columns without their table.
  const load = sql<number>`(select count(*) from containers where host_id = hosts.id)
    + (select count(*) from builds where host_id = hosts.id and state in ('queued', 'running'))`
  return db.select({ host: hosts, load }).from(hosts)
}

/** Every host with how many builds it took that are not over. Costs a row a host. */
export function hostsWithBuilds(db: Database): Promise<{ host: HostRow; builds: number }[]> {
  const count = sql<number>`(select count(*) from builds
    where host_id = hosts.id and claim is not null and state in ('queued', 'running'))`
  return db.select({ host: hosts, builds: count }).from(hosts)
}

/** The lowest free position in the address pool is chosen inside the statement; the unique index decides races. */
export function insertHost(db: Database, host: Pick<HostRow, 'id' | 'name' | 'createdAt'>) {
  const subnetIndex = sql<number>`(select coalesce(min(candidate), 0) from (
    select 0 as candidate union all select subnet_index + 1 from hosts
  ) where candidate not in (select subnet_index from hosts))`
  return db.insert(hosts).values({ ...host, subnetIndex })
}

/** Only while it holds no container and no unfinished build: asked in the statement itself. False when it does. */
export async function deleteHost(db: Database, id: HostId): Promise<boolean> {
  const isEmpty = sql`not exists (select 1 from containers where host_id = ${id})
    and not exists (select 1 from builds where host_id = ${id} and state in ('queued', 'running'))`
  const [gone] = await db.batch([
    db
      .delete(hosts)
      .where(and(eq(hosts.id, id), isEmpty))
      .returning({ id: hosts.id }),
    db.delete(tokens).where(sql`${tokens.hostId} = ${id} and not exists (select 1 from ${hosts} where id = ${id})`),
  ])
  return gone.length > 0
}

/** Forgets a host that is lost, with all it was asked to hold: nobody is left to say that it is gone. */
export function forgetHost(db: Database, id: HostId, now: number) {
  return db.batch([
    db.delete(publishedPorts).where(eq(publishedPorts.hostId, id)),
    db.delete(containers).where(eq(containers.hostId, id)),
    // Builds that another may do go back into the queue.
    db
      .update(builds)
      .set({ hostId: null, claim: null, claimedAt: now })
      .where(
        sql`host_id = ${id} and goal = 'built' and state in ('queued', 'running') and placement ->> 'host' is null`,
      ),
    db.delete(buildLogs).where(sql`${buildLogs.buildId} in (select id from builds where host_id = ${id})`),
    db.delete(commitStatuses).where(sql`${commitStatuses.buildId} in (select id from builds where host_id = ${id})`),
    db.delete(builds).where(eq(builds.hostId, id)),
    db.delete(tokens).where(eq(tokens.hostId, id)),
    db.delete(hosts).where(eq(hosts.id, id)),
  ])
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
