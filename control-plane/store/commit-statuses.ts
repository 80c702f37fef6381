import { and, asc, eq, lte, sql } from 'drizzle-orm'
import type { BuildState } from '#shared/domain/build.ts'
import type { CommitStatusTarget } from '#shared/domain/hook.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { commitStatuses } from './schema.ts'

export type CommitStatusRow = typeof commitStatuses.$inferSelect

export function insertCommitStatus(db: Database, buildId: BuildId, target: CommitStatusTarget, now: number) {
  return db.insert(commitStatuses).values({ buildId, target, state: 'queued', dueAt: now })
}

/** Goes into a batch after what changed the states of builds: what forges were told of them is old then. */
export function retellStatuses(db: Database, ids: readonly string[], now: number) {
  const state = sql`(select state from builds where builds.id = commit_statuses.build_id)`
  const named = sql`commit_statuses.build_id in (select value from json_each(${JSON.stringify(ids)}))`
  return db
    .update(commitStatuses)
    .set({ state, tries: 0, dueAt: now })
    .where(and(named, sql`commit_statuses.state <> ${state}`))
}

/** Those that nobody is telling now. */
export function dueStatuses(db: Database, now: number, limit: number): Promise<CommitStatusRow[]> {
  return db
    .select()
    .from(commitStatuses)
    .where(and(lte(commitStatuses.dueAt, now), lte(commitStatuses.claimedUntil, now)))
    .orderBy(asc(commitStatuses.dueAt))
    .limit(limit)
}

/** False: another was faster. `retryAt` is when it is tried again should nobody come back. */
export async function claimStatus(db: Database, row: CommitStatusRow, until: number, retryAt: number | null) {
  const seen = and(
    eq(commitStatuses.buildId, row.buildId),
    eq(commitStatuses.state, row.state),
    eq(commitStatuses.tries, row.tries),
    eq(commitStatuses.claimedUntil, row.claimedUntil),
  )
  const claimed = await db
    .update(commitStatuses)
    .set({ claimedUntil: until, tries: row.tries + 1, dueAt: retryAt })
    .where(seen)
    .returning({ id: commitStatuses.buildId })
  return claimed.length > 0
}

/** `error` undefined: it was told. What changed meanwhile stays due. */
export function releaseStatus(db: Database, id: BuildId, told: BuildState, error: string | undefined) {
  const isOver = error === undefined
  const dueAt = sql`case when ${commitStatuses.state} = ${told} then null else ${commitStatuses.dueAt} end`
  return db
    .update(commitStatuses)
    .set({ claimedUntil: 0, error: error ?? null, ...(isOver ? { dueAt } : {}) })
    .where(eq(commitStatuses.buildId, id))
}
