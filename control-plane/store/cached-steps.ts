import { lt, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import type { Database } from './database.ts'
import { blobs, cachedSteps } from './schema.ts'

/**
 * The build cache's statements. A step is written only where its blob is, and a blob is collected only where no step
 * names it (`garbage.ts`), each in one statement: a step that is here has its bytes, unless the object store lost them.
 */

export type CachedStepRow = typeof cachedSteps.$inferSelect

export interface FoundStep {
  key: string
  result: StepResult
  usedAt: number
  /** Of its blob; both null when it changed no file. */
  digest: Digest | null
  touchedAt: number | null
}

export interface StepsAsked {
  key: string
  /** Steps in all. */
  limit: number
  /** Of those that were built on the same step, so many. */
  siblings: number
}

interface FoundText extends Omit<FoundStep, 'result'> {
  result: string
}

/**
 * A step and those that were built on it, nearest first, of siblings those that were used last. Without a blob that is not
 * in the store, and without what was built on such a one. Costs a few rows for each step of the answer: the bounds hold
 * in each turn of the recursion, which a circle of steps cannot make endless either.
 */
export async function findSteps(db: Database, { key, limit, siblings }: StepsAsked): Promise<FoundStep[]> {
  const columns = sql.raw('c.key, c.result, c.used_at, c.digest, b.touched_at')
  const withBlob = sql.raw('left join blobs b on b.digest = c.digest')
  const isWhole = sql.raw('(c.digest is null or b.digest is not null)')
  const rows = await db.all<FoundText>(sql`with recursive found(depth, key, result, used_at, digest, touched_at) as (
      select 0, ${columns} from cached_steps c ${withBlob} where c.key = ${key} and ${isWhole}
      union all
      select found.depth + 1, ${columns} from found
        cross join cached_steps c on c.key in
          (select s.key from cached_steps s where s.after = found.key order by s.used_at desc limit ${siblings})
        ${withBlob} where ${isWhole}
      order by 1, 4 desc limit ${limit})
    select key, result, used_at as usedAt, digest, touched_at as touchedAt from found order by depth, used_at desc`)
  return rows.map(row => ({ ...row, result: JSON.parse(row.result) as StepResult }))
}

/**
 * Records what a step gave, if its blob is in the store with that size. The first word counts: of two hosts that did the
 * same step at once all are told the one result. Only one whose bytes the store has lost gives way, or any where the step was
 * to be done anew. False: no such blob.
 */
export async function insertStep(db: Database, row: Omit<CachedStepRow, 'usedAt'>, isAnew: boolean): Promise<boolean> {
  const { key, result, digest, size, after, createdAt, hostId } = row
  const [, written] = await db.batch([
    db.delete(cachedSteps).where(sql`${cachedSteps.key} = ${key} and ${cachedSteps.digest} is not null
      and ${cachedSteps.digest} not in (select digest from blobs)`),
    db
      .insert(cachedSteps)
      .select(sql`select ${key}, ${JSON.stringify(result)}, ${digest}, ${size}, ${after}, ${createdAt}, ${createdAt}, ${hostId}
        where ${digest} is null or exists (select 1 from ${blobs} where ${blobs.digest} = ${digest} and ${blobs.size} = ${size})`)
      .onConflictDoUpdate({
        target: cachedSteps.key,
        set: isAnew ? { ...row, usedAt: createdAt } : { usedAt: createdAt },
      })
      .returning({ key: cachedSteps.key }),
  ])
  return written.length > 0
}

/** Those used after `since` are left as they are, which saves the write. */
export function touchSteps(db: Database, keys: readonly string[], now: number, since: number) {
  return db
    .update(cachedSteps)
    .set({ usedAt: now })
    .where(
      sql`${cachedSteps.key} in (select value from json_each(${JSON.stringify(keys)})) and ${lt(cachedSteps.usedAt, since)}`,
    )
}

export interface StepTotals {
  steps: number
  /** Blobs of layers, and their bytes, each once. */
  layers: number
  bytes: number
}

/** Goes over the whole index of blobs: as many rows as there are steps. */
export function stepTotals(db: Database): Promise<StepTotals> {
  return db.get<StepTotals>(sql`select (select count(*) from cached_steps) as steps, count(*) as layers,
    coalesce(sum(size), 0) as bytes from (select max(size) as size from cached_steps where digest is not null group by digest)`)
}

/** As `stepTotals`, with the bytes that no manifest needs: a look for each blob. */
export function stepUsage(db: Database): Promise<StepTotals & { reclaimableBytes: number }> {
  return db.get(sql`select (select count(*) from cached_steps) as steps, count(*) as layers, coalesce(sum(size), 0) as bytes,
    coalesce(sum(case when exists (select 1 from manifest_edges e where e.child = digest) then 0 else size end), 0)
      as reclaimableBytes
    from (select digest, max(size) as size from cached_steps where digest is not null group by digest)`)
}

/** When the longest unused step was used, and the one that was used last; null without any. */
export function stepAges(db: Database): Promise<{ oldest: number | null; newest: number | null }> {
  return db.get(
    sql`select (select min(used_at) from cached_steps) as oldest, (select max(used_at) from cached_steps) as newest`,
  )
}

export interface RemovedStep {
  digest: Digest | null
  size: number
}

const removed = { digest: cachedSteps.digest, size: cachedSteps.size }

/** The longest unused first. */
export function deleteUnusedSteps(db: Database, before: number, limit: number): Promise<RemovedStep[]> {
  return db
    .delete(cachedSteps)
    .where(sql`${cachedSteps.key} in
      (select key from cached_steps where used_at < ${before} order by used_at limit ${limit})`)
    .returning(removed)
}

/**
 * Removes steps with their layers, the longest unused layer first, until layers of so many bytes are left; none that was
 * used since `before`. A layer of several steps is as old as the youngest of them. Goes over the whole index of blobs.
 */
export function deleteStepsBeyond(db: Database, bytes: number, before: number, limit: number): Promise<RemovedStep[]> {
  const layers = sql`select digest, max(size) as size, max(used_at) as used_at
    from cached_steps where digest is not null group by digest`
  const kept = sql`select digest, used_at, sum(size) over (order by used_at desc, digest
    rows between unbounded preceding and current row) as kept_bytes from (${layers})`
  return db
    .delete(cachedSteps)
    .where(sql`${cachedSteps.key} in (select c.key from (${kept}) l cross join cached_steps c on c.digest = l.digest
      where l.kept_bytes > ${bytes} and l.used_at < ${before} order by l.used_at, l.digest limit ${limit})`)
    .returning(removed)
}

/** Of these blobs, those that no step names any more: their bytes, and how many of those no manifest needs either. */
export function bytesLeft(
  db: Database,
  digests: readonly Digest[],
): Promise<{ bytes: number; reclaimableBytes: number }> {
  return db.get(sql`select coalesce(sum(b.size), 0) as bytes, coalesce(sum(case when not exists
      (select 1 from manifest_edges e where e.child = b.digest) then b.size else 0 end), 0) as reclaimableBytes
    from json_each(${JSON.stringify(digests)}) as item cross join blobs b on b.digest = item.value
    where not exists (select 1 from cached_steps s where s.digest = b.digest)`)
}
