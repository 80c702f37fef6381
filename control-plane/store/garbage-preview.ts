import { and, lt, type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import { isOfCacheMount } from './cache-mounts.ts'
import { isImageRun } from './containers.ts'
import type { Database } from './database.ts'
import { isIn, isOfStep, type LinkPosition, type RemovedRow, type Slice } from './garbage.ts'
import { blobs, manifests, uploads } from './schema.ts'

/** What garbage collection would have removed when it came to its end, slice by slice, without removing anything. */

export interface PreviewTerms {
  /** What was touched before this may go. */
  before: number
  /** Manifests that rules of retention take out of their repositories first. */
  leaving: readonly { repository: string; digest: Digest }[]
}

/** A repository keeps it (`r`), apart from what leaves it first. */
const isStaying = ({ leaving }: PreviewTerms): SQL =>
  leaving.length === 0
    ? sql`true`
    : sql`(r.repository, r.digest) not in (select value ->> 'repository', value ->> 'digest'
        from json_each(${JSON.stringify(leaving)}))`

/** It, or a manifest above it however far, is in a repository, run by a container, or was touched lately. */
const isHeld = (digest: SQLWrapper, terms: PreviewTerms): SQL => sql`exists (
  with recursive up(digest) as (select ${digest} union
    select e.parent from up cross join manifest_edges e on e.child = up.digest)
  select 1 from up where exists (select 1 from repository_manifests r where r.digest = up.digest and ${isStaying(terms)})
    or ${isImageRun(sql`up.digest`)}
    or exists (select 1 from manifests m where m.digest = up.digest and m.touched_at >= ${terms.before}))`

export function deadManifests(db: Database, slice: Slice, terms: PreviewTerms): Promise<RemovedRow[]> {
  const { digest, size, touchedAt } = manifests
  return db
    .select({ digest, size })
    .from(manifests)
    .where(and(isIn(digest, slice), lt(touchedAt, terms.before), sql`not ${isHeld(digest, terms)}`))
}

export function deadBlobs(db: Database, slice: Slice, terms: PreviewTerms): Promise<RemovedRow[]> {
  const { digest, size, touchedAt } = blobs
  return db
    .select({ digest, size })
    .from(blobs)
    .where(
      and(
        isIn(digest, slice),
        lt(touchedAt, terms.before),
        sql`not ${isHeld(digest, terms)} and not ${isOfStep(digest)} and not ${isOfCacheMount(digest)}`,
      ),
    )
}

/** Links to blobs that stay: the others go with their blob. */
export async function countNeedlessLinks(
  db: Database,
  after: LinkPosition,
  last: LinkPosition,
  terms: PreviewTerms,
): Promise<number> {
  const { count } = await db.get<{ count: number }>(sql`select count(*) as count from repository_blobs l
    cross join ${blobs} on ${blobs.digest} = l.digest
    where (l.repository, l.digest) > (${after.repository}, ${after.digest})
    and (l.repository, l.digest) <= (${last.repository}, ${last.digest})
    and l.linked_at < ${terms.before} and ${blobs.touchedAt} < ${terms.before}
    and not exists (select 1 from manifest_edges e cross join repository_manifests r on r.digest = e.parent
      where e.child = l.digest and r.repository = l.repository and ${isStaying(terms)})
    and (${isOfStep(sql`l.digest`)} or ${isHeld(sql`l.digest`, terms)})`)
  return count
}

/** Uploads that nobody went on with: how many, their bytes, and the first of them. */
export async function expiredTotals(db: Database, now: number, first: number) {
  const expired = await db
    .select({ count: sql<number>`count(*)`, bytes: sql<number>`coalesce(sum(${uploads.size}), 0)` })
    .from(uploads)
    .where(lt(uploads.expiresAt, now))
  const some = await db.select({ id: uploads.id }).from(uploads).where(lt(uploads.expiresAt, now)).limit(first)
  return { count: expired[0]?.count ?? 0, bytes: expired[0]?.bytes ?? 0, first: some.map(({ id }) => id) }
}
