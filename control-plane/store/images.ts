import { and, asc, eq, gt, or, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { Database } from './database.ts'
import { containers, images, tags } from './schema.ts'

export type ImageRow = typeof images.$inferSelect
export type TagRow = typeof tags.$inferSelect

export function findImage(db: Database, digest: Digest): Promise<ImageRow | undefined> {
  return db.select().from(images).where(eq(images.digest, digest)).get()
}

export async function findTagged(db: Database, repository: string, tag: string): Promise<ImageRow | undefined> {
  const found = await db
    .select({ image: images })
    .from(tags)
    .innerJoin(images, eq(images.digest, tags.digest))
    .where(and(eq(tags.repository, repository), eq(tags.tag, tag)))
    .get()
  return found?.image
}

export interface ImagePosition {
  createdAt: number
  digest: string
}

/** A page in the order of creation; with a repository, only images that have a tag in it. */
export function listImages(
  db: Database,
  after: ImagePosition,
  limit: number,
  repository: string | undefined,
): Promise<ImageRow[]> {
  const isLater = or(
    gt(images.createdAt, after.createdAt),
    and(eq(images.createdAt, after.createdAt), gt(images.digest, after.digest as Digest)),
  )
  const isIn = repository
    ? sql`exists (select 1 from ${tags} where ${tags.digest} = ${images.digest} and ${tags.repository} = ${repository})`
    : undefined
  return db
    .select()
    .from(images)
    .where(and(isLater, isIn))
    .orderBy(asc(images.createdAt), asc(images.digest))
    .limit(limit)
}

export function tagsOf(db: Database, digests: readonly Digest[]): Promise<TagRow[]> {
  return db
    .select()
    .from(tags)
    .where(sql`${tags.digest} in (select value from json_each(${JSON.stringify(digests)}))`)
    .orderBy(asc(tags.repository), asc(tags.tag))
}

export function insertImage(db: Database, row: ImageRow) {
  return db.insert(images).values(row).onConflictDoNothing()
}

export function setTag(db: Database, row: TagRow) {
  return db
    .insert(tags)
    .values(row)
    .onConflictDoUpdate({
      target: [tags.repository, tags.tag],
      set: { digest: row.digest, updatedAt: row.updatedAt },
    })
}

export function deleteTag(db: Database, repository: string, tag: string) {
  return db
    .delete(tags)
    .where(and(eq(tags.repository, repository), eq(tags.tag, tag)))
    .returning({ digest: tags.digest })
}

export function deleteTagsOf(db: Database, digest: Digest) {
  return db.delete(tags).where(eq(tags.digest, digest))
}

/** Only while no tag and no container needs it: both are asked in the statement itself. */
export function deleteImageIfUnused(db: Database, digest: Digest) {
  return db
    .delete(images)
    .where(
      and(
        eq(images.digest, digest),
        sql`not exists (select 1 from ${tags} where ${tags.digest} = ${digest})`,
        sql`not exists (select 1 from ${containers} where ${containers.spec} ->> 'imageDigest' = ${digest})`,
      ),
    )
}

export function containersOfImage(db: Database, digest: Digest): Promise<{ name: string }[]> {
  return db
    .select({ name: containers.name })
    .from(containers)
    .where(sql`${containers.spec} ->> 'imageDigest' = ${digest}`)
    .limit(10)
}
