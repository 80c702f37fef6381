import { and, asc, eq, gt, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { Database } from './database.ts'
import { manifestEdges, repositoryBlobs, repositoryManifests, tags } from './schema.ts'

export type TagRow = typeof tags.$inferSelect

/** Only while its manifest is in the repository: a removal at the same moment leaves no tag that leads nowhere. */
export function setTag(db: Database, row: TagRow) {
  return [
    noteUntagged(db, row.repository, row.tag, row.updatedAt),
    db
      .insert(tags)
      .select(sql`select ${row.repository}, ${row.tag}, ${row.digest}, ${row.updatedAt}
      where exists (select 1 from ${repositoryManifests} where ${repositoryManifests.repository} = ${row.repository}
      and ${repositoryManifests.digest} = ${row.digest})`)
      .onConflictDoUpdate({
        target: [tags.repository, tags.tag],
        set: { digest: row.digest, updatedAt: row.updatedAt },
      }),
  ] as const
}

/** Goes before what takes a tag away: from now on its manifest counts as one without it. */
export function noteUntagged(db: Database, repository: string, tag: string, now: number) {
  return db
    .update(repositoryManifests)
    .set({ untaggedAt: now })
    .where(
      and(
        eq(repositoryManifests.repository, repository),
        sql`${repositoryManifests.digest} in (select digest from tags where repository = ${repository} and tag = ${tag})`,
      ),
    )
}

export async function deleteTag(db: Database, repository: string, tag: string, now: number): Promise<boolean> {
  const [, gone] = await db.batch([
    noteUntagged(db, repository, tag, now),
    db
      .delete(tags)
      .where(and(eq(tags.repository, repository), eq(tags.tag, tag)))
      .returning({ digest: tags.digest }),
  ])
  return gone.length > 0
}

export function tagsOf(db: Database, digests: readonly Digest[]): Promise<TagRow[]> {
  return db
    .select()
    .from(tags)
    .where(sql`${tags.digest} in (select value from json_each(${JSON.stringify(digests)}))`)
    .orderBy(asc(tags.repository), asc(tags.tag))
}

/** Tags by the images that they lead to, themselves first, then as one platform of an index. */
export async function tagsOfImages(db: Database, images: readonly Digest[]): Promise<TagRow[]> {
  const asked = sql`(select value from json_each(${JSON.stringify(images)}))`
  const { repository, tag, updatedAt } = tags
  const [own, indexed] = await Promise.all([
    tagsOf(db, images),
    db
      .select({ repository, tag, digest: manifestEdges.child, updatedAt })
      .from(manifestEdges)
      .innerJoin(tags, eq(tags.digest, manifestEdges.parent))
      .where(sql`${manifestEdges.child} in ${asked}`)
      .orderBy(asc(repository), asc(tag)),
  ])
  return [...own, ...indexed]
}

/** Tags of a repository in the order of their bytes, after one of them. */
export async function listTags(db: Database, repository: string, after: string, limit: number): Promise<string[]> {
  const rows = await db
    .select({ tag: tags.tag })
    .from(tags)
    .where(and(eq(tags.repository, repository), gt(tags.tag, after)))
    .orderBy(asc(tags.tag))
    .limit(limit)
  return rows.map(({ tag }) => tag)
}

/** Names of repositories that hold something, in order, after one of them. */
export async function listRepositories(db: Database, after: string, limit: number): Promise<string[]> {
  const rows = await db
    .selectDistinct({ repository: repositoryManifests.repository })
    .from(repositoryManifests)
    .where(gt(repositoryManifests.repository, after))
    .orderBy(asc(repositoryManifests.repository))
    .limit(limit)
  return rows.map(({ repository }) => repository)
}

/** Whether anything was ever pushed there and is there still. */
export async function hasRepository(db: Database, repository: string): Promise<boolean> {
  const found = await db
    .select({ one: sql<number>`1` })
    .from(repositoryManifests)
    .where(eq(repositoryManifests.repository, repository))
    .limit(1)
  if (found.length > 0) return true
  const linked = await db
    .select({ one: sql<number>`1` })
    .from(repositoryBlobs)
    .where(eq(repositoryBlobs.repository, repository))
    .limit(1)
  return linked.length > 0
}
