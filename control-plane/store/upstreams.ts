import { and, eq, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { Database } from './database.ts'
import { upstreamBlobs, upstreamTags } from './schema.ts'

export type UpstreamBlobRow = typeof upstreamBlobs.$inferSelect

/** Records where a repository's blobs come from. */
export function insertUpstreamBlobs(
  db: Database,
  repository: string,
  found: readonly { digest: Digest; size: number }[],
) {
  return db
    .insert(upstreamBlobs)
    .select(sql`select ${repository}, value ->> 'digest', ${repository}, value ->> 'size'
      from json_each(${JSON.stringify(found)}) where true`)
    .onConflictDoNothing()
}

/** Where a blob comes from; without a repository, for whoever may read all of them, any place will do. */
export function findUpstreamBlob(
  db: Database,
  digest: Digest,
  repository: string | undefined,
): Promise<UpstreamBlobRow | undefined> {
  const isIn = repository === undefined ? undefined : eq(upstreamBlobs.repository, repository)
  return db
    .select()
    .from(upstreamBlobs)
    .where(and(eq(upstreamBlobs.digest, digest), isIn))
    .get()
}

/** When a tag was last looked up; undefined for never. */
export async function tagCheckedAt(db: Database, repository: string, tag: string): Promise<number | undefined> {
  const found = await db
    .select({ checkedAt: upstreamTags.checkedAt })
    .from(upstreamTags)
    .where(and(eq(upstreamTags.repository, repository), eq(upstreamTags.tag, tag)))
    .get()
  return found?.checkedAt
}

export function markTagChecked(db: Database, repository: string, tag: string, checkedAt: number) {
  return db
    .insert(upstreamTags)
    .values({ repository, tag, checkedAt })
    .onConflictDoUpdate({ target: [upstreamTags.repository, upstreamTags.tag], set: { checkedAt } })
}

/** Forgets sources of blobs that no manifest of their repository names any more, and checks of tags that are gone. */
export function deleteStaleUpstreams(db: Database, limit: number) {
  return db.batch([
    db.delete(upstreamBlobs).where(sql`rowid in (select u.rowid from upstream_blobs u where not exists
      (select 1 from manifest_edges e cross join repository_manifests r on r.digest = e.parent
      where e.child = u.digest and r.repository = u.repository) limit ${limit})`),
    db.delete(upstreamTags).where(sql`rowid in (select u.rowid from upstream_tags u where not exists
      (select 1 from tags t where t.repository = u.repository and t.tag = u.tag) limit ${limit})`),
  ])
}
