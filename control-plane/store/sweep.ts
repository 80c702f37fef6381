import { sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import { buildLogs, builds, commitStatuses } from './schema.ts'

/** Logs and rows of builds that ended long ago. Bounded: at most `limit` builds a run. */
export function deleteOldBuilds(db: Database, before: number, limit: number) {
  const old = sql`(select id from builds where state not in ('queued', 'running') and created_at < ${before} limit ${limit})`
  return db.batch([
    db.delete(buildLogs).where(sql`${buildLogs.buildId} in ${old}`),
    db.delete(commitStatuses).where(sql`${commitStatuses.buildId} in ${old}`),
    db.delete(builds).where(sql`${builds.id} in ${old}`),
  ])
}
