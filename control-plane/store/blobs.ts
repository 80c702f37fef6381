import { and, eq, lt, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { UploadId } from '#shared/domain/ids.ts'
import type { LayerSize } from '#shared/protocol/agent.ts'
import type { Database } from './database.ts'
import { blobs, doomedObjects, repositoryBlobs, uploads } from './schema.ts'

export type BlobRow = typeof blobs.$inferSelect

export function findBlob(db: Database, digest: Digest): Promise<BlobRow | undefined> {
  return db.select().from(blobs).where(eq(blobs.digest, digest)).get()
}

/** A blob as far as a repository may hand it out. */
export async function findLinkedBlob(db: Database, repository: string, digest: Digest): Promise<BlobRow | undefined> {
  const found = await db
    .select({ blob: blobs })
    .from(repositoryBlobs)
    .innerJoin(blobs, eq(blobs.digest, repositoryBlobs.digest))
    .where(and(eq(repositoryBlobs.repository, repository), eq(repositoryBlobs.digest, digest)))
    .get()
  return found?.blob
}

const among = (digests: readonly Digest[]) => sql`(select value from json_each(${JSON.stringify(digests)}))`

export function findBlobs(db: Database, digests: readonly Digest[]): Promise<BlobRow[]> {
  return db
    .select()
    .from(blobs)
    .where(sql`${blobs.digest} in ${among(digests)}`)
}

/** Those of these blobs that a repository may hand out. */
export function findLinkedBlobs(db: Database, repository: string, digests: readonly Digest[]): Promise<BlobRow[]> {
  return db
    .select()
    .from(blobs)
    .where(sql`${blobs.digest} in ${among(digests)}
      and ${blobs.digest} in (select digest from repository_blobs where repository = ${repository})`)
}

/** Keeps blobs from being collected for a while; those touched after `since` are left as they are, which saves the write. */
export function touchBlobs(db: Database, digests: readonly Digest[], now: number, since: number) {
  return db
    .update(blobs)
    .set({ touchedAt: now })
    .where(and(sql`${blobs.digest} in ${among(digests)}`, lt(blobs.touchedAt, since)))
    .returning({ digest: blobs.digest })
}

/** Forgets bytes that the store has lost, unless others were pushed in their place meanwhile. */
export function forgetBlob(db: Database, { digest, objectKey }: Pick<BlobRow, 'digest' | 'objectKey'>) {
  return db.delete(blobs).where(and(eq(blobs.digest, digest), eq(blobs.objectKey, objectKey)))
}

/** The first word counts: a size that is known stays, and a digest that is not here is passed over. */
export function setUnpackedBytes(db: Database, layers: readonly LayerSize[]) {
  const said = sql`json_each(${JSON.stringify(layers)}) as item where item.value ->> 'digest' = ${blobs.digest}`
  return db
    .update(blobs)
    .set({ unpackedBytes: sql`(select item.value ->> 'unpackedBytes' from ${said} limit 1)` })
    .where(sql`${blobs.unpackedBytes} is null and exists (select 1 from ${said})`)
}

export function linkBlobs(db: Database, repository: string, digests: readonly Digest[], linkedAt: number) {
  return db
    .insert(repositoryBlobs)
    .select(sql`select ${repository}, value, ${linkedAt} from json_each(${JSON.stringify(digests)})
      where value in (select digest from ${blobs})`)
    .onConflictDoNothing()
}

/** A manifest of the link's own repository names the blob. */
export const isLinkNeeded = sql`exists (
  select 1 from manifest_edges e cross join repository_manifests r on r.digest = e.parent
  where e.child = ${repositoryBlobs.digest} and r.repository = ${repositoryBlobs.repository})`

/** False when there is no such link, or a manifest of the repository needs it. */
export async function unlinkBlob(db: Database, repository: string, digest: Digest): Promise<boolean> {
  const { repository: owner, digest: linked } = repositoryBlobs
  const gone = await db
    .delete(repositoryBlobs)
    .where(and(eq(owner, repository), eq(linked, digest), sql`not ${isLinkNeeded}`))
    .returning({ digest: repositoryBlobs.digest })
  return gone.length > 0
}

/**
 * Turns uploads whose bytes are whole into blobs, as statements of one batch: an upload that was swept meanwhile, or
 * whose digest another one brought first, makes none, and its object is doomed. The last returns the uploads that were there.
 */
export function uploadsBecomeBlobs(
  db: Database,
  found: readonly { id: UploadId; objectKey: string; digest: Digest; size: number }[],
  now: number,
) {
  const list = JSON.stringify(found)
  // An id may come back with another object, whose bytes nobody has looked at.
  const isFound = sql`exists (select 1 from json_each(${list}) as item where ${uploads.id} = item.value ->> 'id'
    and ${uploads.objectKey} = item.value ->> 'objectKey')`
  return [
    db
      .insert(blobs)
      .select(sql`select item.value ->> 'digest', ${uploads.objectKey}, item.value ->> 'size', ${now}, ${now}, null
        from json_each(${list}) as item join ${uploads} on ${uploads.id} = item.value ->> 'id'
        and ${uploads.objectKey} = item.value ->> 'objectKey' where true`)
      .onConflictDoUpdate({ target: blobs.digest, set: { touchedAt: now } }),
    db
      .insert(doomedObjects)
      .select(sql`select ${uploads.objectKey}, ${now} from ${uploads}
        where ${isFound} and ${uploads.objectKey} not in (select object_key from ${blobs})`)
      .onConflictDoNothing(),
    db.delete(uploads).where(isFound).returning({ id: uploads.id }),
  ] as const
}

export function doomedBefore(db: Database, since: number, limit: number): Promise<{ objectKey: string }[]> {
  return db
    .select({ objectKey: doomedObjects.objectKey })
    .from(doomedObjects)
    .where(lt(doomedObjects.since, since))
    .limit(limit)
}

export function deleteDoomed(db: Database, keys: readonly string[]) {
  return db
    .delete(doomedObjects)
    .where(sql`${doomedObjects.objectKey} in (select value from json_each(${JSON.stringify(keys)}))`)
}
