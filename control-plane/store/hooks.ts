import { and, asc, eq, gt, inArray, lt, sql } from 'drizzle-orm'
import type { BuildId, HookId, HostId } from '#shared/domain/ids.ts'
import { canceled } from './builds.ts'
import type { Database } from './database.ts'
import { builds, hookDeliveries, hooks, hosts } from './schema.ts'

export type HookRow = typeof hooks.$inferSelect

export function insertHook(db: Database, row: HookRow) {
  return db.insert(hooks).values(row)
}

export function findHook(db: Database, id: string): Promise<HookRow | undefined> {
  return db
    .select()
    .from(hooks)
    .where(eq(hooks.id, id as HookId))
    .get()
}

export function listHooks(db: Database, afterName: string, limit: number): Promise<HookRow[]> {
  return db.select().from(hooks).where(gt(hooks.name, afterName)).orderBy(asc(hooks.name)).limit(limit)
}

/** With what was delivered to it. False: there is none. */
export async function deleteHook(db: Database, id: string): Promise<boolean> {
  const [gone] = await db.batch([
    db
      .delete(hooks)
      .where(eq(hooks.id, id as HookId))
      .returning({ id: hooks.id }),
    db.delete(hookDeliveries).where(eq(hookDeliveries.hookId, id as HookId)),
  ])
  return gone.length > 0
}

/** The build that one of these deliveries began. */
export async function findDelivered(db: Database, hookId: HookId, keys: string[]): Promise<BuildId | undefined> {
  const found = await db
    .select({ buildId: hookDeliveries.buildId })
    .from(hookDeliveries)
    .where(and(eq(hookDeliveries.hookId, hookId), inArray(hookDeliveries.key, keys)))
    .limit(1)
  return found[0]?.buildId
}

/** Fails by the primary key for a delivery that was taken. */
export function insertDeliveries(db: Database, hookId: HookId, keys: string[], buildId: BuildId, createdAt: number) {
  return db.insert(hookDeliveries).values(keys.map(key => ({ hookId, key, buildId, createdAt })))
}

export function deleteDeliveriesBefore(db: Database, createdAt: number) {
  return db.delete(hookDeliveries).where(lt(hookDeliveries.createdAt, createdAt))
}

const isStale = (line: string) =>
  and(eq(builds.line, line), inArray(builds.state, ['queued', 'running']), eq(builds.goal, 'built'))

/** Builds of a line that are not over, and the hosts that have them. */
export function staleOfLine(db: Database, line: string): Promise<{ id: BuildId; hostId: HostId | null }[]> {
  return db.select({ id: builds.id, hostId: builds.hostId }).from(builds).where(isStale(line))
}

/** Cancels what a newer push makes stale, whatever hosts it is on; goes into a batch before the new build. */
export function cancelLine(db: Database, line: string, now: number) {
  const stale = db.select({ hostId: builds.hostId }).from(builds).where(isStale(line))
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(inArray(hosts.id, stale)),
    db.update(builds).set(canceled(now)).where(isStale(line)),
  ] as const
}
