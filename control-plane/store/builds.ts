import { and, asc, eq, gt, inArray, or, sql } from 'drizzle-orm'
import type { BuildState, BuildTrigger } from '#shared/domain/build.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import type { Database } from './database.ts'
import { generationOf } from './hosts.ts'
import { buildLogs, builds, hosts } from './schema.ts'

export type BuildRow = typeof builds.$inferSelect
export interface BuildOnHost {
  build: BuildRow
  host: typeof hosts.$inferSelect
}

const isOpen = inArray(builds.state, ['queued', 'running'])
const joined = (db: Database) =>
  db.select({ build: builds, host: hosts }).from(builds).innerJoin(hosts, eq(hosts.id, builds.hostId))

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

type NewBuild = Pick<BuildRow, 'id' | 'hostId' | 'spec' | 'createdAt'> & {
  line?: string | undefined
  trigger?: BuildTrigger | undefined
}

export function insertBuild(db: Database, row: NewBuild) {
  return db.insert(builds).values({ ...row, goal: 'built', generation: generationOf(row.hostId) })
}

export function cancelBuild(db: Database, row: BuildRow) {
  return db
    .update(builds)
    .set({ goal: 'canceled', generation: generationOf(row.hostId) })
    .where(and(eq(builds.id, row.id), isOpen))
}

export function setImageOfBuild(db: Database, id: BuildId, imageDigest: BuildRow['imageDigest']) {
  return db.update(builds).set({ imageDigest }).where(eq(builds.id, id))
}

/** As the main context or as one by name. */
const namesContext = (id: string) => sql`(${builds.spec} ->> 'contextId' = ${id}
  or ${builds.spec} ->> '$.source.contextId' = ${id} or exists
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

/** Appends lines at `logLines`; the primary key and the count make a repeat add nothing. */
export function appendBuildLog(db: Database, id: BuildId, firstLine: number, lines: BuildLogLine[]) {
  return db.batch([
    db.insert(buildLogs).values({ buildId: id, firstLine, lines }).onConflictDoNothing(),
    db
      .update(builds)
      .set({ logLines: firstLine + lines.length })
      .where(and(eq(builds.id, id), eq(builds.logLines, firstLine))),
  ])
}

/** Lines that begin or end a step, in their order. Reads the whole log: at most 50,000 lines. */
export async function stepLines(db: Database, id: BuildId, limit: number): Promise<BuildLogLine[]> {
  const found = await db.all<{ line: string }>(sql`
    select json(line.value) as line from ${buildLogs}, json_each(${buildLogs.lines}) as line
    where ${buildLogs.buildId} = ${id} and line.value ->> 'mark' in ('begin', 'cached', 'done', 'failed', 'canceled')
    order by ${buildLogs.firstLine}, line.key limit ${limit}`)
  return found.map(({ line }) => JSON.parse(line))
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
