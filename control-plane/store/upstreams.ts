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

/** Where a repository's blob comes from. */
export function findUpstreamBlob(
  db: Database,
  digest: Digest,
  repository: string,
): Promise<UpstreamBlobRow | undefined> {
  return db
    .select()
    .from(upstreamBlobs)
    .where(and(eq(upstreamBlobs.digest, digest), eq(upstreamBlobs.repository, repository)))
    .get()
}

/**
 * Some of the places that a blob may come from, for whoever may read all of them; no two of them of one source and size.
 * In no order: what only says that it has the blob, however often, does not keep the others from being asked in time.
 */
export function findUpstreamBlobs(db: Database, digest: Digest, limit: number): Promise<UpstreamBlobRow[]> {
  return db
    .select()
    .from(upstreamBlobs)
    .where(eq(upstreamBlobs.digest, digest))
    .groupBy(upstreamBlobs.source, upstreamBlobs.size)
    .orderBy(sql`random()`)
    .limit(limit)
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
