import { and, asc, eq, gt, inArray, or, type SQL, sql } from 'drizzle-orm'
import type { BuildState, BuildTrigger } from '#shared/domain/build.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import type { Database } from './database.ts'
import { generationOf } from './hosts.ts'
import { buildLogs, builds, hosts } from './schema.ts'

export type BuildRow = typeof builds.$inferSelect
export interface BuildOnHost {
  build: BuildRow
  /** Null while it waits for one, and once that was removed. */
  host: typeof hosts.$inferSelect | null
}

const isOpen = inArray(builds.state, ['queued', 'running'])
const joined = (db: Database) =>
  db.select({ build: builds, host: hosts }).from(builds).leftJoin(hosts, eq(hosts.id, builds.hostId))

export function findBuild(db: Database, id: string): Promise<BuildOnHost | undefined> {
  return joined(db)
    .where(eq(builds.id, id as BuildId))
    .get()
}

export function listBuilds(
  db: Database,
  after: { createdAt: number; id: string },
  limit: number,
  state: BuildState | undefined,
): Promise<BuildOnHost[]> {
  const isLater = or(
    gt(builds.createdAt, after.createdAt),
    and(eq(builds.createdAt, after.createdAt), gt(builds.id, after.id as BuildId)),
  )
  return joined(db)
    .where(and(isLater, state ? eq(builds.state, state) : undefined))
    .orderBy(asc(builds.createdAt), asc(builds.id))
    .limit(limit)
}

/** Unfinished builds of a host that changed after a generation. */
export function changedBuilds(db: Database, hostId: HostId, since: number): Promise<BuildRow[]> {
  return db
    .select()
    .from(builds)
    .where(and(eq(builds.hostId, hostId), gt(builds.generation, since), isOpen))
}

/** Ids of all unfinished builds of a host. */
export async function openBuildsOf(db: Database, hostId: HostId): Promise<BuildId[]> {
  const found = await db
    .select({ id: builds.id })
    .from(builds)
    .where(and(eq(builds.hostId, hostId), isOpen))
  return found.map(({ id }) => id)
}

type NewBuild = Pick<BuildRow, 'id' | 'hostId' | 'spec' | 'createdAt'> & {
  limits?: BuildRow['limits']
  placement?: BuildRow['placement']
  sealedSecrets?: string | null
  lineage?: string | undefined
  preferredHostId?: HostId | undefined
  line?: string | undefined
  trigger?: BuildTrigger | undefined
}

export function insertBuild(db: Database, row: NewBuild) {
  const generation = row.hostId === null ? 0 : generationOf(row.hostId)
  return db.insert(builds).values({ ...row, goal: 'built', generation })
}

/**
 * What a cancel makes of a build: one that no host has is over at once, the others once their hosts say so. The generation is
 * the host's, whichever that is at this moment.
 */
const canceled = (now: number) => ({
  goal: 'canceled' as const,
  generation: sql`coalesce((select generation from hosts where hosts.id = builds.host_id), 0)`,
  state: sql`case when builds.host_id is null then 'canceled' else builds.state end`,
  observedFinishedAt: sql`case when builds.host_id is null then ${now} else builds.observed_finished_at end`,
  sealedSecrets: sql`case when builds.host_id is null then null else builds.sealed_secrets end`,
})

/** Cancels all builds that are so, whatever hosts have them; the last statement returns what it makes of them. */
export function cancelBuilds(db: Database, which: SQL | undefined, now: number) {
  const owners = db.select({ hostId: builds.hostId }).from(builds).where(which)
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(inArray(hosts.id, owners)),
    db.update(builds).set(canceled(now)).where(which).returning({ state: builds.state, hostId: builds.hostId }),
  ] as const
}

export function cancelBuild(db: Database, id: BuildId, now: number) {
  return cancelBuilds(db, and(eq(builds.id, id), isOpen), now)
}

export function setImageOfBuild(db: Database, id: BuildId, imageDigest: BuildRow['imageDigest']) {
  return db.update(builds).set({ imageDigest }).where(eq(builds.id, id))
}

/** As the main context, as one that is laid over it, or as one by name. */
const namesContext = (id: string) => sql`(${builds.spec} ->> 'contextId' = ${id}
  or ${builds.spec} ->> '$.source.contextId' = ${id} or exists
  (select 1 from json_each(${builds.spec}, '$.source.over') as laid where laid.value = ${id}) or exists
  (select 1 from json_each(${builds.spec}, '$.contexts') as named where named.value ->> 'contextId' = ${id}))`

/** Whether a host has an unfinished build of this context. */
export async function hasBuildOfContext(db: Database, hostId: HostId, contextId: string): Promise<boolean> {
  const found = await db
    .select({ id: builds.id })
    .from(builds)
    .where(and(eq(builds.hostId, hostId), isOpen, namesContext(contextId)))
    .limit(1)
  return found.length > 0
}

/**
 * Appends lines of a host at `logLines`, while the build is its own; the primary key and the count make a repeat add nothing.
 * False: it is another's by now, or has other lines.
 */
export async function appendBuildLog(
  db: Database,
  hostId: HostId,
  id: BuildId,
  firstLine: number,
  lines: BuildLogLine[],
): Promise<boolean> {
  const isDue = sql`builds.id = ${id} and builds.host_id = ${hostId} and builds.log_lines = ${firstLine}`
  const [, appended] = await db.batch([
    db
      .insert(buildLogs)
      .select(sql`select builds.id, ${firstLine}, ${JSON.stringify(lines)} from builds where ${isDue}`)
      .onConflictDoNothing(),
    db
      .update(builds)
      .set({ logLines: firstLine + lines.length })
      .where(isDue)
      .returning({ id: builds.id }),
  ])
  return appended.length > 0
}

/** Lines that begin or end a step, in their order. Reads the whole log: at most 50,000 lines. */
export async function stepLines(db: Database, id: BuildId, limit: number): Promise<BuildLogLine[]> {
  const found = await db.all<{ line: string }>(sql`
    select json(line.value) as line from ${buildLogs}, json_each(${buildLogs.lines}) as line
    where ${buildLogs.buildId} = ${id} and line.value ->> 'mark' in ('begin', 'cached', 'done', 'failed', 'canceled', 'anew')
    order by ${buildLogs.firstLine}, line.key limit ${limit}`)
  return found.map(({ line }) => JSON.parse(line))
}

/** The highest number that a step has in a build's log; 0: it has none. Reads the whole log. */
export async function lastStepOf(db: Database, id: BuildId): Promise<number> {
  const [found] = await db.all<{ last: number | null }>(sql`
    select max(line.value ->> 'step') as last from ${buildLogs}, json_each(${buildLogs.lines}) as line
    where ${buildLogs.buildId} = ${id}`)
  return found?.last ?? 0
}

/** Log chunks that hold lines from `fromLine` on. */
export function buildLogFrom(db: Database, id: BuildId, fromLine: number, limit: number) {
  return db
    .select({ firstLine: buildLogs.firstLine, lines: buildLogs.lines })
    .from(buildLogs)
    .where(
      and(eq(buildLogs.buildId, id), sql`${buildLogs.firstLine} + json_array_length(${buildLogs.lines}) > ${fromLine}`),
    )
    .orderBy(asc(buildLogs.firstLine))
    .limit(limit)
}
