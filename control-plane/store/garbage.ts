import { and, asc, gt, lte, type SQL, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { Database } from './database.ts'
import { blobs, doomedObjects, manifestEdges, manifests, repositoryBlobs, uploads } from './schema.ts'

/**
 * Garbage collection's statements. Each asks in itself whether a row is needed, so whatever was pushed a moment before
 * is seen; and each goes over one slice of a table in the order of its key, so a run costs the same in any store.
 */

/** Keys after `after`, up to and with `last`. */
export interface Slice {
  after: string
  last: string
}

export interface RemovedRow {
  digest: Digest
  size: number
}

/** Nothing told anyone lately that it is here, and nothing holds it: a repository, a container, an index above it. */
const isUnheld = (before: number) => sql`${manifests.touchedAt} < ${before}
  and not exists (select 1 from repository_manifests r where r.digest = ${manifests.digest})
  and not exists (select 1 from containers c where c.spec ->> 'imageDigest' = ${manifests.digest})
  and not exists (select 1 from manifest_edges e where e.child = ${manifests.digest})`

/** Nothing told anyone lately that it is here, and no manifest names it. */
const isUnnamed = (before: number) => sql`${blobs.touchedAt} < ${before}
  and not exists (select 1 from manifest_edges e where e.child = ${blobs.digest})`

const isIn = (column: typeof manifests.digest | typeof blobs.digest | typeof manifestEdges.parent, slice: Slice) =>
  and(gt(column, slice.after as Digest), lte(column, slice.last as Digest))

export async function sliceOfManifests(db: Database, after: string, limit: number) {
  const { digest } = manifests
  const keys = db
    .select({ digest })
    .from(manifests)
    .where(gt(digest, after as Digest))
    .orderBy(asc(digest))
    .limit(limit)
  return endOf(await keys, limit)
}

export async function sliceOfBlobs(db: Database, after: string, limit: number) {
  const { digest } = blobs
  const keys = db
    .select({ digest })
    .from(blobs)
    .where(gt(digest, after as Digest))
    .orderBy(asc(digest))
    .limit(limit)
  return endOf(await keys, limit)
}

function endOf(rows: readonly { digest: Digest }[], limit: number) {
  return { last: rows.at(-1)?.digest, isLast: rows.length < limit }
}

/**
 * Removes manifests that nothing holds; their large bodies are doomed. The edges go last: gone earlier, they would free
 * children in the same slice whose bodies the first statement had not seen. What an index alone held goes next time.
 */
export async function removeManifests(db: Database, slice: Slice, before: number, now: number): Promise<RemovedRow[]> {
  const mine = and(isIn(manifests.digest, slice), isUnheld(before))
  const [, gone] = await db.batch([
    db
      .insert(doomedObjects)
      .select(
        sql`select ${manifests.objectKey}, ${now} from ${manifests} where ${manifests.objectKey} is not null and ${mine}`,
      )
      .onConflictDoNothing(),
    db.delete(manifests).where(mine).returning({ digest: manifests.digest, size: manifests.size }),
    db
      .delete(manifestEdges)
      .where(
        and(
          isIn(manifestEdges.parent, slice),
          sql`not exists (select 1 from ${manifests} where ${manifests.digest} = ${manifestEdges.parent})`,
        ),
      ),
  ])
  return gone
}

/** Removes blobs that no manifest names, with their links; their objects are doomed. */
export async function removeBlobs(db: Database, slice: Slice, before: number, now: number): Promise<RemovedRow[]> {
  const mine = and(isIn(blobs.digest, slice), isUnnamed(before))
  const [, , gone] = await db.batch([
    db
      .insert(doomedObjects)
      .select(sql`select ${blobs.objectKey}, ${now} from ${blobs} where ${mine}`)
      .onConflictDoNothing(),
    db
      .delete(repositoryBlobs)
      .where(sql`${repositoryBlobs.digest} in (select ${blobs.digest} from ${blobs} where ${mine})`),
    db.delete(blobs).where(mine).returning({ digest: blobs.digest, size: blobs.size }),
  ])
  return gone
}

export interface LinkPosition {
  repository: string
  digest: string
}

const isNeedlessLink = (before: number): SQL => sql`${repositoryBlobs.linkedAt} < ${before}
  and not exists (select 1 from ${blobs} where ${blobs.digest} = ${repositoryBlobs.digest} and ${blobs.touchedAt} >= ${before})
  and not exists (select 1 from manifest_edges e join repository_manifests r on r.digest = e.parent
    where e.child = ${repositoryBlobs.digest} and r.repository = ${repositoryBlobs.repository})`

export async function sliceOfLinks(db: Database, after: LinkPosition, limit: number) {
  const { repository, digest } = repositoryBlobs
  const rows = await db
    .select({ repository, digest })
    .from(repositoryBlobs)
    .where(sql`(${repository}, ${digest}) > (${after.repository}, ${after.digest})`)
    .orderBy(asc(repository), asc(digest))
    .limit(limit)
  return { last: rows.at(-1), isLast: rows.length < limit }
}

/** Removes links to blobs that no manifest of their repository names; what was touched lately may be about to be named. */
export async function removeLinks(db: Database, after: LinkPosition, last: LinkPosition, before: number) {
  const { repository, digest } = repositoryBlobs
  const gone = await db
    .delete(repositoryBlobs)
    .where(
      and(
        sql`(${repository}, ${digest}) > (${after.repository}, ${after.digest})`,
        sql`(${repository}, ${digest}) <= (${last.repository}, ${last.digest})`,
        isNeedlessLink(before),
      ),
    )
    .returning({ digest })
  return gone.length
}

/** What a run to its end would remove, once these manifests had left their repositories. Reads the whole store. Links: to blobs that stay. */
export async function findGarbage(
  db: Database,
  before: number,
  leaving: readonly { repository: string; digest: Digest }[],
  limit: number,
) {
  const live = sql`with recursive leaving as materialized (select value ->> 'repository' as repository, value ->> 'digest' as digest
      from json_each(${JSON.stringify(leaving)})),
    live(digest) as (
      select digest from repository_manifests where (repository, digest) not in (select repository, digest from leaving)
      union select spec ->> 'imageDigest' from containers
      union select digest from manifests where touched_at >= ${before}
      union select child from live join manifest_edges on parent = live.digest)`
  const deadManifests = sql`${live} select digest, size from ${manifests} where digest not in (select digest from live)`
  const deadBlobs = sql`${live} select digest, size from ${blobs}
    where touched_at < ${before} and digest not in (select digest from live)`
  const needlessLinks = sql`${live} select l.digest, 0 as size from repository_blobs l join ${blobs} on ${blobs.digest} = l.digest
    where l.linked_at < ${before} and ${blobs.touchedAt} < ${before} and l.digest in (select digest from live)
    and not exists (select 1 from manifest_edges e join repository_manifests r on r.digest = e.parent
      where e.child = l.digest and r.repository = l.repository
      and (r.repository, r.digest) not in (select repository, digest from leaving))`
  return {
    manifests: await summed(db, deadManifests, limit),
    blobs: await summed(db, deadBlobs, limit),
    links: await summed(db, needlessLinks, 0),
  }
}

export async function findExpiredUploads(db: Database, now: number, limit: number) {
  return summed(db, sql`select id as digest, size from ${uploads} where expires_at < ${now}`, limit)
}

async function summed(db: Database, rows: SQL, limit: number) {
  const list = sql<string>`(select json_group_array(digest) from (select digest from found order by digest limit ${limit}))`
  const answer = await db.get<{ count: number; bytes: number; first: string }>(
    sql`with found as materialized (${rows}) select count(*) as count, coalesce(sum(size), 0) as bytes, ${list} as first from found`,
  )
  return { count: answer.count, bytes: answer.bytes, first: JSON.parse(answer.first) as string[] }
}
