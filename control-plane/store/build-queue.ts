import { and, asc, desc, eq, type SQL, sql } from 'drizzle-orm'
import { BUILDS_AT_ONCE, HOST_SILENT_MS, type Labels } from '#shared/domain/host.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import type { BuildRow } from './builds.ts'
import type { Database } from './database.ts'
import { generationOf } from './hosts.ts'
import { buildLogs, builds, hosts } from './schema.ts'

/** A host that asks for a build. */
export interface Claimant {
  id: HostId
  architecture: string | undefined
  labels: Labels
  /** It has been heard of long enough to tell others' silence from its own. */
  canTakeOver: boolean
}

/** So long others wait for the host whose cache is warm. */
export const PREFERENCE_MS = 2000

/** Times a host may begin a build without its end being heard of. */
export const MAX_ATTEMPTS = 3

const isOpen = sql`builds.state in ('queued', 'running')`
const isHeard = (host: SQL, now: number) =>
  sql`exists (select 1 from hosts where hosts.id = ${host} and coalesce(hosts.observed_at, 0) > ${now - HOST_SILENT_MS})`

/** The host that would take it sooner is there and has room. */
function isPreferredFree(now: number) {
  const own = sql`(select count(*) from builds as running where running.host_id = hosts.id and running.state in ('queued', 'running'))`
  return sql`exists (select 1 from hosts where hosts.id = builds.preferred_host_id
    and coalesce(hosts.observed_at, 0) > ${now - HOST_SILENT_MS}
    and ${own} < coalesce(hosts.observed_facts ->> '$.buildsAtOnce', ${BUILDS_AT_ONCE}))`
}

/** Whether a host may take a build that is not its own: it fits, and waits or has lost its host. */
function isTakeable(who: Claimant, now: number) {
  const fits = sql`coalesce(builds.placement ->> '$.host', ${who.id}) = ${who.id}
    and coalesce(builds.placement ->> '$.architecture', ${who.architecture ?? ''}) = ${who.architecture ?? ''}
    and not exists (select 1 from json_each(builds.placement, '$.labels') as asked where not exists
      (select 1 from json_each(${JSON.stringify(who.labels)}) as has where has.key = asked.key and has.value = asked.value))`
  const waits = sql`builds.host_id is null and (builds.created_at <= ${now - PREFERENCE_MS}
    or coalesce(builds.preferred_host_id, ${who.id}) = ${who.id} or not ${isPreferredFree(now)})`
  const isLost = who.canTakeOver
    ? sql`builds.host_id is not null and builds.host_id <> ${who.id} and not ${isHeard(sql`builds.host_id`, now)}`
    : sql`0`
  return sql`${isOpen} and builds.goal = 'built' and ${fits} and ((${waits}) or (${isLost}))`
}

/** What a host has already is begun again by it, when it asks for that by name. */
const isOwn = (who: Claimant) => sql`${isOpen} and builds.goal = 'built' and builds.host_id = ${who.id}`

const mayClaim = (who: Claimant, now: number, id: BuildId | undefined) =>
  id === undefined ? isTakeable(who, now) : sql`builds.id = ${id} and ((${isOwn(who)}) or (${isTakeable(who, now)}))`

/** The build that a host would be given: those that it is preferred for come first, then the oldest. */
export async function nextBuild(db: Database, who: Claimant, now: number, id: BuildId | undefined) {
  const [found] = await db
    .select()
    .from(builds)
    .where(mayClaim(who, now, id))
    .orderBy(desc(sql`coalesce(${builds.preferredHostId}, '') = ${who.id}`), asc(builds.createdAt), asc(builds.id))
    .limit(1)
  return found
}

/** Nobody took it since it was seen, or gave it back. */
const isAsSeen = (seen: BuildRow) =>
  sql`builds.id = ${seen.id} and builds.attempts = ${seen.attempts} and builds.host_id is ${seen.hostId}
    and builds.claim is ${seen.claim}`

/**
 * The one statement that gives a build to a host, as long as it may be given to it still: of many at once one wins. Its
 * generation is the one that `afterClaim` makes the host's.
 */
export function claimBuild(db: Database, who: Claimant, seen: BuildRow, claim: string, now: number) {
  return db
    .update(builds)
    .set({
      hostId: who.id,
      attempts: seen.attempts + 1,
      claimedAt: now,
      claim,
      generation: sql`${generationOf(who.id)} + 1`,
    })
    .where(and(isAsSeen(seen), mayClaim(who, now, seen.id)))
}

/** Goes into the batch after `claimBuild`, and is there if that one won: the host that lost it drops it, the log says so. */
export function afterClaim(db: Database, who: Claimant, seen: BuildRow, claim: string, line: BuildLogLine | undefined) {
  const isMine = sql`builds.id = ${seen.id} and builds.claim = ${claim}`
  const touched = JSON.stringify(seen.hostId === null ? [who.id] : [who.id, seen.hostId])
  const lines = JSON.stringify(line === undefined ? [] : [line])
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(
        sql`${hosts.id} in (select value from json_each(${touched})) and exists (select 1 from builds where ${isMine})`,
      ),
    db
      .insert(buildLogs)
      .select(sql`select builds.id, builds.log_lines, ${lines} from builds where ${isMine} and ${lines} <> '[]'`),
    db
      .update(builds)
      .set({ logLines: sql`${builds.logLines} + json_array_length(${lines})` })
      .where(isMine)
      .returning(),
  ] as const
}

/**
 * Gives a build that a host has, and does not end, back to the queue: the attempt does not count. One that is for that host alone
 * stays its own. The wait counts anew. Goes into one batch; the last statement returns the build, if it was so.
 */
export function releaseBuild(db: Database, id: string, hostId: HostId, line: BuildLogLine) {
  const isHeld = sql`builds.id = ${id} and builds.host_id = ${hostId} and builds.goal = 'built' and builds.attempts > 0 and ${isOpen}`
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(sql`${hosts.id} = ${hostId} and exists (select 1 from builds where ${isHeld})`),
    db
      .insert(buildLogs)
      .select(sql`select builds.id, builds.log_lines, ${JSON.stringify([line])} from builds where ${isHeld}`),
    db
      .update(builds)
      .set({
        hostId: sql`builds.placement ->> '$.host'`,
        generation: generationOf(hostId),
        attempts: sql`builds.attempts - 1`,
        ...{ state: 'queued', claim: null, claimedAt: line.at, observedStartedAt: null, preferredHostId: hostId },
        logLines: sql`builds.log_lines + 1`,
      })
      .where(isHeld)
      .returning(),
  ] as const
}

/** An absence of all hosts tells of the API's own, and nothing of theirs: it lasts so long before it counts. */
const UNWITNESSED_MS = 24 * 60 * 60 * 1000

/**
 * Unfinished builds that no host took in time, whether any may or one alone, and those that a silent host has and nobody ends: they
 * are to be canceled, were begun too often, or no other host took them in time. The time counts from when the host was heard of
 * last, for as long as somebody else was heard of who can tell its silence from the API's. Bounded.
 */
export function strandedBuilds(db: Database, now: number, waitMs: number, limit: number): Promise<BuildRow[]> {
  const waitedSince = now - waitMs
  const isWaiting = sql`(builds.host_id is null or builds.claim is null)`
  const hasWaited = sql`coalesce(builds.claimed_at, builds.created_at) <= ${waitedSince}`
  const isSilent = sql`(builds.host_id is null or not ${isHeard(sql`builds.host_id`, now)})`
  const isWitnessed = sql`(builds.host_id is null or exists (select 1 from hosts
    where hosts.observed_at > ${now - HOST_SILENT_MS} and hosts.observed_since <= ${now - HOST_SILENT_MS}))`
  const heardAt = sql`coalesce((select hosts.observed_at from hosts where hosts.id = builds.host_id), builds.claimed_at)`
  const isLost = sql`builds.goal = 'canceled' or (builds.attempts >= ${MAX_ATTEMPTS} and ${isWitnessed})
    or (not ${isWaiting} and ${heardAt} <= ${waitedSince} and (${isWitnessed} or ${heardAt} <= ${now - UNWITNESSED_MS}))`
  return db
    .select()
    .from(builds)
    .where(sql`${isOpen} and ((${isWaiting} and ${hasWaited}) or (${isSilent} and (${isLost})))`)
    .orderBy(asc(builds.createdAt))
    .limit(limit)
}

/**
 * Ends a build for which no host speaks, and tells the one that had it, should it come back. Goes into one batch, whose last
 * statement returns nothing when one took it meanwhile, or it ended.
 */
export function endStranded(db: Database, seen: BuildRow, end: Pick<BuildRow, 'state' | 'observedError'>, now: number) {
  const isStill = sql`${isAsSeen(seen)} and ${isOpen}`
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(sql`${hosts.id} = ${seen.hostId} and exists (select 1 from builds where ${isStill})`),
    db
      .update(builds)
      .set({ ...end, observedFinishedAt: now, sealedSecrets: null })
      .where(isStill)
      .returning({ id: builds.id }),
  ] as const
}

/** Who built this lineage last, with success. */
export async function lastHostOf(db: Database, lineage: string): Promise<HostId | undefined> {
  const [last] = await db
    .select({ hostId: builds.hostId })
    .from(builds)
    .where(and(eq(builds.lineage, lineage), eq(builds.state, 'succeeded')))
    .orderBy(desc(builds.createdAt))
    .limit(1)
  return last?.hostId ?? undefined
}
