import { and, asc, eq, gt, type SQL, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { RetentionRule } from '#shared/protocol/retention.ts'
import { isImageRun } from './containers.ts'
import type { Database } from './database.ts'
import { repositoryManifests, retentionRules, tags } from './schema.ts'

export async function listRules(db: Database): Promise<RetentionRule[]> {
  const rows = await db.select().from(retentionRules).orderBy(asc(retentionRules.position))
  return rows.map(({ rule }) => rule)
}

export async function replaceRules(db: Database, rules: readonly RetentionRule[]): Promise<void> {
  await db.batch([
    db.delete(retentionRules),
    db.insert(retentionRules).select(sql`select key, value from json_each(${JSON.stringify(rules)})`),
  ])
}

/** Names and digests of one repository, a slice at most of each, after a position. */
export function tagsAfter(db: Database, repository: string, after: string, limit: number): Promise<{ tag: string }[]> {
  return db
    .select({ tag: tags.tag })
    .from(tags)
    .where(and(eq(tags.repository, repository), gt(tags.tag, after)))
    .orderBy(asc(tags.tag))
    .limit(limit)
}

export function manifestsAfter(db: Database, repository: string, after: string, limit: number) {
  return db
    .select({ digest: repositoryManifests.digest })
    .from(repositoryManifests)
    .where(and(eq(repositoryManifests.repository, repository), gt(repositoryManifests.digest, after as Digest)))
    .orderBy(asc(repositoryManifests.digest))
    .limit(limit)
}

/** A container runs this image, or one of this index. */
const isRun = (digest: SQL) => sql`(${isImageRun(digest)}
  or exists (select 1 from manifest_edges e where e.parent = ${digest} and ${isImageRun(sql`e.child`)}))`

/** Of these tags, those that `keepLast` others were set after; a container's image keeps its tag. */
function isSpent(repository: string, names: readonly string[], keepLast: number): SQL | undefined {
  const oldestKept = sql`(select newer.updated_at, newer.tag from tags newer where newer.repository = ${repository}
    order by newer.updated_at desc, newer.tag desc limit 1 offset ${keepLast - 1})`
  return and(
    eq(tags.repository, repository),
    sql`${tags.tag} in (select value from json_each(${JSON.stringify(names)}))`,
    // Fewer tags than that: no row, so the comparison is null, which is not true.
    keepLast === 0 ? undefined : sql`(${tags.updatedAt}, ${tags.tag}) < ${oldestKept}`,
    sql`not ${isRun(sql`${tags.digest}`)}`,
  )
}

export async function spentTags(db: Database, repository: string, names: readonly string[], keepLast: number) {
  return db
    .select({ tag: tags.tag })
    .from(tags)
    .where(isSpent(repository, names, keepLast))
}

export async function removeSpentTags(
  db: Database,
  repository: string,
  names: readonly string[],
  keepLast: number,
  now: number,
): Promise<{ tag: string }[]> {
  const mine = isSpent(repository, names, keepLast)
  const [, gone] = await db.batch([
    db
      .update(repositoryManifests)
      .set({ untaggedAt: now })
      .where(
        and(
          eq(repositoryManifests.repository, repository),
          sql`${repositoryManifests.digest} in (select ${tags.digest} from ${tags} where ${mine})`,
        ),
      ),
    db.delete(tags).where(mine).returning({ tag: tags.tag }),
  ])
  return gone
}

export interface UntaggedTerms {
  /** Digests after `after`, up to and with `last`. */
  after: string
  last: string
  /** Pushed before, and without a tag since before this. */
  untaggedBefore: number
  /** Not asked for since this. */
  touchedBefore: number
}

/**
 * Manifests of a repository that no tag, index, container or live subject needs, in a slice; and, wherever they are,
 * the referrers of those, which are worth nothing without them. `cross join` keeps SQLite to the order that is written.
 */
function leaving(repository: string, terms: UntaggedTerms): SQL {
  const isLoose = sql`r.repository = ${repository}
    and not exists (select 1 from tags t where t.repository = ${repository} and t.digest = r.digest)
    and not exists (select 1 from manifest_edges up cross join repository_manifests p on p.digest = up.parent
      where up.child = r.digest and p.repository = ${repository})
    and not ${isRun(sql`r.digest`)}`
  return sql`with recursive leaving(digest) as (
    select r.digest from repository_manifests r join manifests m on m.digest = r.digest
      where r.digest > ${terms.after} and r.digest <= ${terms.last} and ${isLoose}
      and max(r.pushed_at, coalesce(r.untagged_at, 0)) < ${terms.untaggedBefore} and m.touched_at < ${terms.touchedBefore}
      and not exists (select 1 from repository_manifests s where s.repository = ${repository} and s.digest = r.subject)
    union select r.digest from leaving cross join repository_manifests r on r.subject = leaving.digest where ${isLoose})
    select digest from leaving`
}

const isLeaving = (repository: string, terms: UntaggedTerms) =>
  and(
    eq(repositoryManifests.repository, repository),
    sql`${repositoryManifests.digest} in (${leaving(repository, terms)})`,
  )

export async function untaggedManifests(db: Database, repository: string, terms: UntaggedTerms) {
  return db.select({ digest: repositoryManifests.digest }).from(repositoryManifests).where(isLeaving(repository, terms))
}

export async function removeUntagged(db: Database, repository: string, terms: UntaggedTerms) {
  return db
    .delete(repositoryManifests)
    .where(isLeaving(repository, terms))
    .returning({ digest: repositoryManifests.digest })
}
