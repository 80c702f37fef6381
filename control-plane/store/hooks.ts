import { and, asc, desc, eq, gt, inArray, lt } from 'drizzle-orm'
import type { BuildId, HookId, HostId } from '#shared/domain/ids.ts'
import { cancelBuilds } from './builds.ts'
import type { Database } from './database.ts'
import { builds, hookDeliveries, hookPushes, hooks } from './schema.ts'

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
    db.delete(hookPushes).where(eq(hookPushes.hookId, id as HookId)),
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

type PushRow = typeof hookPushes.$inferSelect

/** The newest pushes of a ref, newest first. */
export function pushesOf(db: Database, hookId: HookId, ref: string, limit: number): Promise<PushRow[]> {
  return db
    .select()
    .from(hookPushes)
    .where(and(eq(hookPushes.hookId, hookId), eq(hookPushes.ref, ref)))
    .orderBy(desc(hookPushes.position))
    .limit(limit)
}

/** Fails by the primary key where another push of the ref took the position. */
export function insertPush(db: Database, row: PushRow) {
  return db.insert(hookPushes).values(row)
}

export function deletePushesBefore(db: Database, createdAt: number) {
  return db.delete(hookPushes).where(lt(hookPushes.createdAt, createdAt))
}

const isStale = (line: string) =>
  and(eq(builds.line, line), inArray(builds.state, ['queued', 'running']), eq(builds.goal, 'built'))

/** Builds of a line that are not over, and the hosts that have them. */
export function staleOfLine(db: Database, line: string): Promise<{ id: BuildId; hostId: HostId | null }[]> {
  return db.select({ id: builds.id, hostId: builds.hostId }).from(builds).where(isStale(line))
}

/** Cancels what a newer push makes stale, whatever hosts it is on; goes into a batch before the new build. */
export function cancelLine(db: Database, line: string, now: number) {
  return cancelBuilds(db, isStale(line), now)
}
