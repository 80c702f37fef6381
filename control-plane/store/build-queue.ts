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

/** Nobody took it since it was seen: each claim counts an attempt. */
const isAsSeen = (seen: BuildRow) =>
  sql`builds.id = ${seen.id} and builds.attempts = ${seen.attempts} and builds.host_id is ${seen.hostId}`

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
 * stays its own. Goes into one batch; the last statement returns the build, if it was so.
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
        ...{ state: 'queued', claim: null, claimedAt: null, observedStartedAt: null, preferredHostId: hostId },
        logLines: sql`builds.log_lines + 1`,
      })
      .where(isHeld)
      .returning(),
  ] as const
}

/** Unfinished builds that wait for something no host says any more, or that nobody ends. Bounded. */
export function strandedBuilds(db: Database, now: number, waitedSince: number, limit: number): Promise<BuildRow[]> {
  const isSilent = sql`(builds.host_id is null or not ${isHeard(sql`builds.host_id`, now)})`
  const isOver = sql`builds.goal = 'canceled' or builds.attempts >= ${MAX_ATTEMPTS}
    or coalesce(builds.claimed_at, builds.created_at) <= ${waitedSince}`
  return db
    .select()
    .from(builds)
    .where(sql`${isOpen} and ${isSilent} and (${isOver})`)
    .orderBy(asc(builds.createdAt))
    .limit(limit)
}

/** Ends a build for which no host speaks. False: one took it meanwhile, or it ended. */
export function endStranded(db: Database, seen: BuildRow, end: Pick<BuildRow, 'state' | 'observedError'>, now: number) {
  return db
    .update(builds)
    .set({ ...end, observedFinishedAt: now, sealedSecrets: null })
    .where(and(isAsSeen(seen), isOpen))
    .returning({ id: builds.id })
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
