import { and, asc, gt, lte, type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import { isLinkNeeded } from './blobs.ts'
import { isOfCacheMount } from './cache-mounts.ts'
import { isImageRun } from './containers.ts'
import type { Database } from './database.ts'
import { blobs, doomedObjects, manifestEdges, manifests, repositoryBlobs } from './schema.ts'

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
  and not ${isImageRun(manifests.digest)}
  and not exists (select 1 from manifest_edges e where e.child = ${manifests.digest})`

/** A step of the build cache has it for its layer. */
export const isOfStep = (digest: SQLWrapper) => sql`exists (select 1 from cached_steps s where s.digest = ${digest})`

/** Nothing told anyone lately that it is here, and neither a manifest nor a cached step names it, nor is it a saved cache mount. */
const isUnnamed = (before: number) => sql`${blobs.touchedAt} < ${before}
  and not exists (select 1 from manifest_edges e where e.child = ${blobs.digest}) and not ${isOfStep(blobs.digest)}
  and not ${isOfCacheMount(blobs.digest)}`

export const isIn = (
  column: typeof manifests.digest | typeof blobs.digest | typeof manifestEdges.parent,
  slice: Slice,
) => and(gt(column, slice.after as Digest), lte(column, slice.last as Digest))

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

/** Removes blobs that nothing names, with their links; their objects are doomed. */
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
  and not ${isLinkNeeded}`

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
