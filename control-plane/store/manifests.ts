import { and, asc, eq, gt, isNotNull, type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { UploadId } from '#shared/domain/ids.ts'
import { findLinkedBlobs } from './blobs.ts'
import type { Database } from './database.ts'
import {
  blobs,
  containers,
  manifestEdges,
  manifests,
  repositoryBlobs,
  repositoryManifests,
  tags,
  upstreamBlobs,
} from './schema.ts'

export type ManifestRow = typeof manifests.$inferSelect

export interface NewManifest {
  row: ManifestRow
  /** What it names, in its order. Each must be there: a blob, or (of an index) a manifest. */
  needs: { blobs: readonly Digest[]; manifests: readonly Digest[] }
  /** All it names: the marks of garbage collection. */
  named: readonly Digest[]
  /** Of an upstream: what it names may be absent, and is fetched when someone asks for it. */
  isSparse: boolean
  /** Media types of which more is known than their bytes. */
  knownTypes: readonly string[]
  subject: Digest | null
  /** Of a large body: under which its object was written, and which ends with the batch. */
  upload?: { id: UploadId; objectKey: string } | undefined
}

/** True, inside a statement, while all that a manifest needs is linked to its repository, and its own object not swept. */
function hasAll(repository: string, { needs, isSparse, upload }: NewManifest) {
  const hasObject = upload ? sql`exists (select 1 from uploads where id = ${upload.id})` : sql`true`
  if (isSparse) return hasObject
  const list = (digests: readonly Digest[]) => JSON.stringify([...new Set(digests)])
  return sql`not exists (select 1 from json_each(${list(needs.blobs)}) where value not in
      (select b.digest from repository_blobs r join blobs b on b.digest = r.digest where r.repository = ${repository}))
    and not exists (select 1 from json_each(${list(needs.manifests)}) where value not in
      (select digest from repository_manifests where repository = ${repository}))
    and ${hasObject}`
}

/**
 * Statements of one batch that make a manifest part of a repository, all or none: the last returns a row when all that
 * it needs was there. What it needs is touched in the same batch, so that no collection comes in between.
 */
export function insertManifest(db: Database, repository: string, made: NewManifest, now: number) {
  const { row, named, subject, knownTypes } = made
  const isKnown = (type: SQL) => sql`${type} in (select value from json_each(${JSON.stringify(knownTypes)}))`
  const isBetter = sql`config is null and (excluded.config is not null
    or (${isKnown(sql`excluded.media_type`)} and not ${isKnown(sql`media_type`)}))`
  const isWhole = hasAll(repository, made)
  const edges = JSON.stringify(named)
  const rows = JSON.stringify(row)
  const field = (name: keyof ManifestRow) => sql`row.value ->> ${sql.raw(`'$.${name}'`)}`
  return [
    db
      .insert(manifests)
      .select(sql`select ${field('digest')}, ${field('mediaType')}, ${field('size')}, ${field('body')}, ${field('objectKey')},
        ${field('artifactType')}, row.value -> '$.annotations', ${field('config')}, ${field('architecture')}, ${field('os')},
        ${field('variant')}, ${field('imageSize')}, ${field('createdAt')}, ${field('touchedAt')}
        from (select ${rows} as value) as row where ${isWhole}`)
      // The same bytes may have come under another media type first, in anybody's repository: what makes an image of
      // them wins, and a type that is known over one that is not.
      .onConflictDoUpdate({
        target: manifests.digest,
        set: {
          touchedAt: now,
          mediaType: sql`iif(${isBetter}, excluded.media_type, media_type)`,
          artifactType: sql`iif(${isBetter}, excluded.artifact_type, artifact_type)`,
          imageSize: sql`max(image_size, excluded.image_size)`,
          architecture: sql`coalesce(architecture, excluded.architecture)`,
          os: sql`coalesce(os, excluded.os)`,
          variant: sql`coalesce(variant, excluded.variant)`,
          config: sql`coalesce(config, excluded.config)`,
        },
      }),
    db
      .insert(manifestEdges)
      .select(sql`select ${row.digest}, value, key from json_each(${edges}) where ${isWhole}`)
      .onConflictDoNothing(),
    db.update(blobs).set({ touchedAt: now }).where(sql`${blobs.digest} in (select value from json_each(${edges}))`),
    db
      .insert(repositoryManifests)
      .select(sql`select ${repository}, ${row.digest}, ${subject}, ${now}, null where ${isWhole}`)
      .onConflictDoUpdate({
        target: [repositoryManifests.repository, repositoryManifests.digest],
        set: { pushedAt: now },
      })
      .returning({ digest: repositoryManifests.digest }),
  ] as const
}

/** Keeps a manifest for a while, whatever becomes of its repositories. False when it is gone. */
export async function touchManifest(db: Database, digest: Digest, now: number): Promise<boolean> {
  const touched = await db
    .update(manifests)
    .set({ touchedAt: now })
    .where(eq(manifests.digest, digest))
    .returning({ digest: manifests.digest })
  return touched.length > 0
}

export function findManifest(db: Database, digest: Digest): Promise<ManifestRow | undefined> {
  return db.select().from(manifests).where(eq(manifests.digest, digest)).get()
}

export async function findManifestIn(
  db: Database,
  repository: string,
  digest: Digest,
): Promise<ManifestRow | undefined> {
  const found = await db
    .select({ manifest: manifests })
    .from(repositoryManifests)
    .innerJoin(manifests, eq(manifests.digest, repositoryManifests.digest))
    .where(and(eq(repositoryManifests.repository, repository), eq(repositoryManifests.digest, digest)))
    .get()
  return found?.manifest
}

export async function findTagged(db: Database, repository: string, tag: string): Promise<ManifestRow | undefined> {
  const found = await db
    .select({ manifest: manifests })
    .from(tags)
    .innerJoin(manifests, eq(manifests.digest, tags.digest))
    .where(and(eq(tags.repository, repository), eq(tags.tag, tag)))
    .get()
  return found?.manifest
}

/** The images that an index names, in its order. */
export async function imagesOfIndex(db: Database, index: Digest): Promise<ManifestRow[]> {
  const found = await db
    .select({ manifest: manifests })
    .from(manifestEdges)
    .innerJoin(manifests, eq(manifests.digest, manifestEdges.child))
    .where(and(eq(manifestEdges.parent, index), isNotNull(manifests.config)))
    .orderBy(asc(manifestEdges.position))
  return found.map(({ manifest }) => manifest)
}

/** Which of these are missing in a repository: for the error's words. */
export async function missingIn(db: Database, repository: string, { needs }: NewManifest): Promise<Digest[]> {
  const [linked, pushed] = await Promise.all([
    findLinkedBlobs(db, repository, needs.blobs),
    db
      .select({ digest: repositoryManifests.digest })
      .from(repositoryManifests)
      .where(
        and(
          eq(repositoryManifests.repository, repository),
          sql`${repositoryManifests.digest} in (select value from json_each(${JSON.stringify(needs.manifests)}))`,
        ),
      ),
  ])
  const here = new Set([...linked, ...pushed].map(({ digest }) => digest))
  return [...needs.blobs, ...needs.manifests].filter(digest => !here.has(digest))
}

export interface Referrer {
  digest: Digest
  mediaType: string
  size: number
  artifactType: string | null
  annotations: Record<string, string> | null
}

/** Manifests of a repository whose subject is this one, by digest; a page after a digest. */
export function listReferrers(
  db: Database,
  repository: string,
  subject: Digest,
  artifactType: string | undefined,
  after: string,
  limit: number,
): Promise<Referrer[]> {
  const { digest, mediaType, size, annotations } = manifests
  return db
    .select({ digest, mediaType, size, artifactType: manifests.artifactType, annotations })
    .from(repositoryManifests)
    .innerJoin(manifests, eq(manifests.digest, repositoryManifests.digest))
    .where(
      and(
        eq(repositoryManifests.repository, repository),
        eq(repositoryManifests.subject, subject),
        artifactType === undefined ? undefined : eq(manifests.artifactType, artifactType),
        gt(repositoryManifests.digest, after as Digest),
      ),
    )
    .orderBy(asc(repositoryManifests.digest))
    .limit(limit)
}

/**
 * What a manifest is and names becomes part of another repository too: a tag there needs all of it. What is not here yet
 * will come from where `from` has it, if that says: others only say that they have the same.
 */
export function copyIntoRepository(db: Database, from: string, repository: string, digest: Digest, now: number) {
  const subtree = sql`with recursive tree(digest) as (select ${digest} union
    select child from manifest_edges join tree on parent = digest) select digest from tree`
  return [
    db
      .insert(repositoryManifests)
      .select(sql`select ${repository}, ${manifests.digest}, max(source.subject), ${now}, null
        from ${manifests} left join repository_manifests source on source.digest = ${manifests.digest}
        where ${manifests.digest} in (${subtree}) group by ${manifests.digest}`)
      .onConflictDoNothing(),
    db
      .insert(repositoryBlobs)
      .select(sql`select ${repository}, ${blobs.digest}, ${now} from ${blobs} where ${blobs.digest} in (${subtree})`)
      .onConflictDoNothing(),
    db
      .insert(upstreamBlobs)
      .select(sql`select ${repository}, digest, source, size from (
        select digest, source, size, max(repository = ${from}) from upstream_blobs
        where digest in (${subtree}) group by digest) where true`)
      .onConflictDoNothing(),
  ] as const
}

/** An index of the same repository names the manifest: without it, the index could no more be pulled. */
export const isOfIndex = (repository: SQLWrapper | string, digest: SQLWrapper | Digest): SQL => sql`exists (
  select 1 from manifest_edges up cross join repository_manifests p on p.digest = up.parent
  where up.child = ${digest} and p.repository = ${repository})`

/**
 * Takes a manifest out of a repository, with its tags there; the document goes when nothing needs it. False when it is
 * not there, or an index there names it.
 */
export async function removeFromRepository(db: Database, repository: string, digest: Digest): Promise<boolean> {
  const isLoose = sql`not ${isOfIndex(repository, digest)}`
  const [, gone] = await db.batch([
    db.delete(tags).where(and(eq(tags.repository, repository), eq(tags.digest, digest), isLoose)),
    db
      .delete(repositoryManifests)
      .where(and(eq(repositoryManifests.repository, repository), eq(repositoryManifests.digest, digest), isLoose))
      .returning({ digest: repositoryManifests.digest }),
  ])
  return gone.length > 0
}

/**
 * Takes everything out of a repository: its tags and manifests, all or none. Removes nothing, and returns false, while a
 * container runs one of its images. Links to blobs stay for a while: a push that is under way needs them.
 */
export async function removeRepository(db: Database, repository: string): Promise<boolean> {
  const isUnused = sql`not exists (select 1 from repository_manifests r
    join containers c on c.spec ->> 'imageDigest' = r.digest where r.repository = ${repository})`
  const [, gone] = await db.batch([
    db.delete(tags).where(and(eq(tags.repository, repository), isUnused)),
    db
      .delete(repositoryManifests)
      .where(and(eq(repositoryManifests.repository, repository), isUnused))
      .returning({ digest: repositoryManifests.digest }),
  ])
  return gone.length > 0
}

export function containersOfRepository(db: Database, repository: string): Promise<{ name: string }[]> {
  return db
    .select({ name: containers.name })
    .from(containers)
    .where(sql`${containers.spec} ->> 'imageDigest' in
      (select digest from repository_manifests where repository = ${repository})`)
    .limit(10)
}

/** Containers of an image; of an index those of its images that nothing else has a tag for. Ten at most. */
export function containersOfImage(db: Database, digest: Digest): Promise<{ name: string }[]> {
  const onlyNamedHere = sql`select edge.child from manifest_edges edge where edge.parent = ${digest}
    and not exists (select 1 from tags t where t.digest = edge.child)
    and not exists (select 1 from manifest_edges up join tags t on t.digest = up.parent
      where up.child = edge.child and up.parent <> edge.parent)`
  return db
    .select({ name: containers.name })
    .from(containers)
    .where(sql`${containers.spec} ->> 'imageDigest' in (select ${digest} union ${onlyNamedHere})`)
    .limit(10)
}

/** An index of a repository that names this manifest, if any. */
export function indexNaming(db: Database, repository: string, digest: Digest): Promise<{ digest: Digest } | undefined> {
  return db
    .select({ digest: manifestEdges.parent })
    .from(manifestEdges)
    .innerJoin(repositoryManifests, eq(repositoryManifests.digest, manifestEdges.parent))
    .where(and(eq(manifestEdges.child, digest), eq(repositoryManifests.repository, repository)))
    .get()
}
