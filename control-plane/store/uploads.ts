import { and, asc, eq, gt, isNull, lt, or, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { UploadId } from '#shared/domain/ids.ts'
import type { Database } from './database.ts'
import { doomedObjects, manifests, uploads } from './schema.ts'

export type UploadRow = typeof uploads.$inferSelect

/** Ids are random but those of pulls and of uploads in parts, which are there already when another request began the same. */
export function insertUploads(
  db: Database,
  rows: readonly (Pick<UploadRow, 'id' | 'repository' | 'objectKey' | 'expiresAt' | 'size'> & {
    digest: Digest | null
  })[],
) {
  return db
    .insert(uploads)
    .select(sql`select value ->> 'id', value ->> 'repository', value ->> 'objectKey', value ->> 'digest',
      value ->> 'size', null, null, null, 0, value ->> 'expiresAt', null, null, null from json_each(${JSON.stringify(rows)}) where true`)
    .onConflictDoNothing()
}

export function findUpload(db: Database, id: string, repository: string): Promise<UploadRow | undefined> {
  return db
    .select()
    .from(uploads)
    .where(and(eq(uploads.id, id as UploadId), eq(uploads.repository, repository)))
    .get()
}

/** What agents uploaded, or still upload, of a digest. */
export function uploadsOf(db: Database, digest: Digest): Promise<UploadRow[]> {
  return db
    .select()
    .from(uploads)
    .where(and(isNull(uploads.repository), eq(uploads.digest, digest)))
}

/** Gives uploads that nobody has claimed more time; returns all of these that are there. */
export async function renewUploads(db: Database, ids: readonly UploadId[], expiresAt: number): Promise<UploadRow[]> {
  const isNamed = sql`${uploads.id} in (select value from json_each(${JSON.stringify(ids)}))`
  const [, rows] = await db.batch([
    db
      .update(uploads)
      .set({ expiresAt })
      .where(and(isNamed, isNull(uploads.claim))),
    db.select().from(uploads).where(isNamed),
  ])
  return rows
}

/** An upload that has not expired, with more time; the sweeper has no eye on it then. */
export async function renewUpload(
  db: Database,
  id: UploadId,
  now: number,
  expiresAt: number,
): Promise<UploadRow | undefined> {
  const isAlive = and(eq(uploads.id, id), gt(uploads.expiresAt, now))
  return (await db.update(uploads).set({ expiresAt }).where(isAlive).returning())[0]
}

/** Returns the store's id that the upload in parts has now: the first one said. Undefined when the upload is gone. */
export async function setPartsId(
  db: Database,
  { id, objectKey }: Pick<UploadRow, 'id' | 'objectKey'>,
  partsId: string,
): Promise<string | undefined> {
  const set = await db
    .update(uploads)
    .set({ partsId: sql`coalesce(${uploads.partsId}, ${partsId})` })
    .where(and(eq(uploads.id, id), eq(uploads.objectKey, objectKey)))
    .returning({ partsId: uploads.partsId })
  return set[0]?.partsId ?? undefined
}

/** One statement, since parts come side by side. */
export async function saveUploadPart(db: Database, { id, objectKey }: UploadRow, number: number, tag: string) {
  await db
    .update(uploads)
    .set({ partTags: sql`json_set(coalesce(${uploads.partTags}, '{}'), ${`$."${number}"`}, ${tag})` })
    .where(and(eq(uploads.id, id), eq(uploads.objectKey, objectKey)))
}

/** Takes an upload for one writer; undefined while another one, not silent since `staleBefore`, has it. */
export async function claimUpload(
  db: Database,
  id: UploadId,
  claim: string,
  now: number,
  staleBefore: number,
): Promise<UploadRow | undefined> {
  const taken = await db
    .update(uploads)
    .set({ claim, claimedAt: now })
    .where(and(eq(uploads.id, id), or(isNull(uploads.claim), lt(uploads.claimedAt, staleBefore))))
    .returning()
  return taken[0]
}

/** False when the claim was lost to another writer, or the upload is gone. */
export async function renewClaim(db: Database, id: UploadId, claim: string, now: number): Promise<boolean> {
  const kept = await db
    .update(uploads)
    .set({ claimedAt: now })
    .where(and(eq(uploads.id, id), eq(uploads.claim, claim)))
    .returning({ id: uploads.id })
  return kept.length > 0
}

/** Records what a writer took in and lets go of the claim. */
export async function saveUpload(
  db: Database,
  id: UploadId,
  claim: string,
  progress: Pick<UploadRow, 'size' | 'writerState' | 'digestSoFar' | 'hashState' | 'expiresAt'>,
): Promise<boolean> {
  const saved = await db
    .update(uploads)
    .set({ ...progress, claim: null })
    .where(and(eq(uploads.id, id), eq(uploads.claim, claim)))
    .returning({ id: uploads.id })
  return saved.length > 0
}

export function deleteUpload(db: Database, id: UploadId) {
  return db.delete(uploads).where(eq(uploads.id, id))
}

/** The upload ends without a blob; should its object have become visible, it goes. One that began anew under its id stays. */
export function dropUpload(db: Database, { id, objectKey }: Pick<UploadRow, 'id' | 'objectKey'>, now: number) {
  const isIt = and(eq(uploads.id, id), eq(uploads.objectKey, objectKey))
  return db.batch([
    db
      .insert(doomedObjects)
      .select(sql`select ${objectKey}, ${now} where exists (select 1 from ${uploads} where ${isIt})`)
      .onConflictDoNothing(),
    db.delete(uploads).where(isIt),
  ])
}

/** Uploads that nobody went on with and nobody writes; those that were tried before come last. */
export function expiredUploads(db: Database, now: number, staleBefore: number, limit: number): Promise<UploadRow[]> {
  return db
    .select()
    .from(uploads)
    .where(and(lt(uploads.expiresAt, now), or(isNull(uploads.claim), lt(uploads.claimedAt, staleBefore))))
    .orderBy(asc(uploads.claimedAt))
    .limit(limit)
}

/** The last writer of an upload that has expired: whoever else comes finds it busy, then gone. */
export async function claimExpired(
  db: Database,
  id: UploadId,
  claim: string,
  now: number,
  staleBefore: number,
): Promise<UploadRow | undefined> {
  const isFree = or(isNull(uploads.claim), lt(uploads.claimedAt, staleBefore))
  const taken = await db
    .update(uploads)
    .set({ claim, claimedAt: now })
    .where(and(eq(uploads.id, id), lt(uploads.expiresAt, now), isFree))
    .returning()
  return taken[0]
}

/** Ends an upload in the batch that gave its object to a manifest; an object that the manifest did not take is doomed. */
export function endBodyUpload(
  db: Database,
  { id, objectKey }: Pick<UploadRow, 'id' | 'objectKey'>,
  digest: Digest,
  now: number,
) {
  return [
    db
      .insert(doomedObjects)
      .select(sql`select ${objectKey}, ${now} where exists (select 1 from ${uploads} where ${uploads.id} = ${id})
        and not exists (select 1 from ${manifests} where ${manifests.digest} = ${digest} and ${manifests.objectKey} = ${objectKey})`)
      .onConflictDoNothing(),
    deleteUpload(db, id),
  ] as const
}

/** Bytes that open uploads of a repository hold. */
export async function openUploads(db: Database, repository: string, now: number): Promise<number> {
  return db.$count(uploads, and(eq(uploads.repository, repository), gt(uploads.expiresAt, now)))
}
