import { and, eq, inArray, sql } from 'drizzle-orm'
import type { Digest } from '#shared/digest.ts'
import type { BuildUpdate } from '#shared/domain/build.ts'
import { type ContainerGoal, type ContainerSpec, DEFAULT_STOP } from '#shared/domain/container.ts'
import type { BuildId, ContainerId } from '#shared/domain/ids.ts'
import type { ContainerRow } from './containers.ts'
import type { Database } from './database.ts'
import { generationOf } from './hosts.ts'
import { builds, containers, events, hosts } from './schema.ts'

/** Sets spec and goal unless somebody else changed the container since it was read. Goes behind `bumpGeneration`. */
export function updateSpec(db: Database, row: ContainerRow, change: { spec: ContainerSpec; goal: ContainerGoal }) {
  return db
    .update(containers)
    .set({ ...change, generation: generationOf(row.hostId) })
    .where(and(eq(containers.id, row.id), eq(containers.generation, row.generation)))
    .returning({ id: containers.id })
}

/** Tells of an update in its own batch, behind it: only where that changed the container. */
export function insertUpdateEvent(db: Database, row: ContainerRow, at: number, data: Record<string, unknown>) {
  return db.insert(events).select(sql`select null, ${at}, 'container.update', id, ${JSON.stringify(data)}
    from containers where id = ${row.id} and generation = ${generationOf(row.hostId)}`)
}

/** A container that gets the image of a build. */
export interface BuiltUpdate {
  build: BuildId
  container: ContainerId
  image: string
  imageDigest: Digest
}

/** How the run before ends. */
const STOP = sql`json_object('timeoutMs', coalesce(${containers.spec} ->> 'stopTimeoutMs', ${DEFAULT_STOP.timeoutMs}))`

/**
 * Orders updates to what one build made, in the batch that records its success and before that: only of one that had not
 * ended until now and that nobody canceled, so that a repeat orders nothing. Whoever changes a container at the same moment
 * loses nothing: spec and goal are changed where they are. A container that has the image stays as it is.
 */
export function orderBuiltUpdates(db: Database, list: readonly BuiltUpdate[]) {
  const named = sql`json_each(${JSON.stringify(list)}) as named`
  const said = (path: string) => sql`named.value ->> ${sql.raw(`'$.${path}'`)}`
  const isDue = and(
    sql`${containers.id} = ${said('container')}`,
    sql`${containers.goal} ->> 'kind' <> 'removed'`,
    sql`${containers.spec} ->> 'imageDigest' <> ${said('imageDigest')}`,
    sql`exists (select 1 from ${builds} where ${builds.id} = ${said('build')} and ${builds.goal} = 'built'
      and ${builds.state} in ('queued', 'running'))`,
  )
  const run = sql`(${containers.goal} ->> 'run') + 1`
  return [
    db
      .update(hosts)
      .set({ generation: sql`${hosts.generation} + 1` })
      .where(inArray(hosts.id, sql`(select host_id from ${containers}, ${named} where ${isDue})`)),
    db
      .update(containers)
      .set({
        spec: sql`json_set(${containers.spec}, '$.image', ${said('image')}, '$.imageDigest', ${said('imageDigest')},
          '$.revision', coalesce(${containers.spec} ->> 'revision', 0) + 1)`,
        goal: sql`case ${containers.goal} ->> 'kind'
          when 'running' then json_set(${containers.goal}, '$.run', ${run}, '$.endPrevious', ${STOP})
          when 'paused' then json_set(${containers.goal}, '$.run', ${run})
          else ${containers.goal} end`,
        generation: sql`(select generation from hosts where hosts.id = ${containers.hostId})`,
      })
      .from(named)
      .where(isDue),
  ] as const
}

/** Keeps what became of a build's updates, in the same batch and before its success is recorded. */
export function recordUpdates(db: Database, id: BuildId, updates: BuildUpdate[]) {
  return db
    .update(builds)
    .set({ updates })
    .where(and(eq(builds.id, id), inArray(builds.state, ['queued', 'running'])))
}
