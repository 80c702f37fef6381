import { and, asc, eq, gt, isNotNull, or, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { Database } from './database.ts'
import { isOfIndex, type ManifestRow } from './manifests.ts'
import { containers, manifests, repositoryManifests, tags } from './schema.ts'

export interface ImagePosition {
  createdAt: number
  digest: string
}

/** Images that can be run and that some repository holds, in the order of creation; a page after a position. */
export function listImages(
  db: Database,
  after: ImagePosition,
  limit: number,
  repository: string | undefined,
): Promise<ManifestRow[]> {
  const isLater = or(
    gt(manifests.createdAt, after.createdAt),
    and(eq(manifests.createdAt, after.createdAt), gt(manifests.digest, after.digest as Digest)),
  )
  const isIn = sql`exists (select 1 from ${repositoryManifests} where ${repositoryManifests.digest} = ${manifests.digest}
    ${repository === undefined ? sql`` : sql`and ${repositoryManifests.repository} = ${repository}`})`
  return db
    .select()
    .from(manifests)
    .where(and(isLater, isIn, isNotNull(manifests.config)))
    .orderBy(asc(manifests.createdAt), asc(manifests.digest))
    .limit(limit)
}

/**
 * Takes an image out of every repository, unless a container needs it or a tag still names it, and but for those where an
 * index names it: all is asked in the statement itself. The documents and blobs are collected later.
 */
export function forgetImage(db: Database, digest: Digest) {
  return db
    .delete(repositoryManifests)
    .where(
      and(
        eq(repositoryManifests.digest, digest),
        sql`not exists (select 1 from ${tags} where ${tags.digest} = ${digest})`,
        sql`not exists (select 1 from ${containers} where ${containers.spec} ->> 'imageDigest' = ${digest})`,
        sql`not ${isOfIndex(repositoryManifests.repository, digest)}`,
      ),
    )
}

export function deleteTagsOf(db: Database, digest: Digest) {
  return db.delete(tags).where(eq(tags.digest, digest))
}
