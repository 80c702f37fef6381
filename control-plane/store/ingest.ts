import { and, eq, sql } from 'drizzle-orm'
import type { ContainerSize } from '#shared/domain/container.ts'
import { HOST_SILENT_MS } from '#shared/domain/host.ts'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import type { Report } from '#shared/protocol/agent.ts'
import type { Database } from './database.ts'
import { builds, containers, hosts, publishedPorts } from './schema.ts'

/** Writes of ingest, the one writer of observed fields. Each takes a whole report's rows in one bound value. */

export function recordHost(db: Database, hostId: HostId, report: Report, at: number) {
  return db
    .update(hosts)
    .set({
      observedAt: at,
      observedSince: sql`case when coalesce(${hosts.observedAt}, 0) <= ${at - HOST_SILENT_MS} then ${at}
        else coalesce(${hosts.observedSince}, ${at}) end`,
      observedGeneration: sql`max(${hosts.observedGeneration}, ${report.generation})`, // Reports may come late.
      ...(report.facts ? { observedFacts: report.facts } : {}),
      ...(report.usage ? { observedDisk: report.usage.disk } : {}),
    })
    .where(eq(hosts.id, hostId))
}

/** An older state than the recorded one changes nothing: reports may come late and twice. */
export function recordContainers(db: Database, hostId: HostId, observed: Report['containers']) {
  const seen = (path: string) => sql`seen.value ->> ${sql.raw(`'$.${path}'`)}`
  return db
    .update(containers)
    .set({
      observed: sql`seen.value -> '$.status'`,
      observedGeneration: seen('generation'),
      observedAt: seen('observedAt'),
      observedRestarts: seen('restarts'),
    })
    .from(sql`json_each(${JSON.stringify(observed)}) as seen`)
    .where(
      and(
        eq(containers.hostId, hostId),
        sql`${containers.id} = ${seen('id')}`,
        sql`${containers.observedGeneration} <= ${seen('generation')}`,
        sql`coalesce(${containers.observedAt}, 0) <= ${seen('observedAt')}`,
      ),
    )
}

export function recordSizes(db: Database, hostId: HostId, sizes: readonly ContainerSize[]) {
  return db
    .update(containers)
    .set({
      observedWritableBytes: sql`seen.value ->> '$.writableBytes'`,
      observedVirtualBytes: sql`seen.value ->> '$.virtualBytes'`,
    })
    .from(sql`json_each(${JSON.stringify(sizes)}) as seen`)
    .where(and(eq(containers.hostId, hostId), sql`${containers.id} = seen.value ->> '$.id'`))
}

const isGone = (hostId: HostId, ids: readonly ContainerId[]) =>
  and(
    eq(containers.hostId, hostId),
    sql`${containers.goal} ->> 'kind' = 'removed'`,
    sql`${containers.id} in (select value from json_each(${JSON.stringify(ids)}))`,
  )

/** Forgets containers that were to be removed and of which nothing is left, with their ports. */
export function forgetContainers(db: Database, hostId: HostId, ids: readonly ContainerId[]) {
  const gone = db.select({ id: containers.id }).from(containers).where(isGone(hostId, ids))
  return [
    db.delete(publishedPorts).where(sql`${publishedPorts.containerId} in ${gone}`),
    db.delete(containers).where(isGone(hostId, ids)),
  ] as const
}

export function recordBuilds(db: Database, hostId: HostId, seen: Report['builds']) {
  const observed = (name: string) => sql`seen.value ->> ${sql.raw(`'$.observed.${name}'`)}`
  return db
    .update(builds)
    .set({
      state: observed('state'),
      observedStartedAt: observed('startedAt'),
      observedFinishedAt: observed('finishedAt'),
      observedError: sql`seen.value -> '$.observed.error'`,
      observedWarnings: sql`seen.value -> '$.observed.warnings'`,
      observedAttestations: sql`seen.value -> '$.observed.attestations'`,
      // Nobody needs them once the build has ended.
      sealedSecrets: sql`case when ${observed('state')} = 'running' then ${builds.sealedSecrets} end`,
      imageDigest: sql`coalesce(${observed('imageDigest')}, ${builds.imageDigest})`,
      observedCommit: observed('commit'),
    })
    .from(sql`json_each(${JSON.stringify(seen)}) as seen`)
    .where(
      and(
        eq(builds.hostId, hostId),
        sql`${builds.id} = seen.value ->> '$.id'`,
        sql`${builds.state} in ('queued', 'running')`,
      ),
    )
}

export function containersByIds(db: Database, hostId: HostId, ids: readonly ContainerId[]) {
  return db
    .select()
    .from(containers)
    .where(
      and(
        eq(containers.hostId, hostId),
        sql`${containers.id} in (select value from json_each(${JSON.stringify(ids)}))`,
      ),
    )
}

export function buildsByIds(db: Database, hostId: HostId, ids: readonly string[]) {
  return db
    .select({
      id: builds.id,
      state: builds.state,
      goal: builds.goal,
      spec: builds.spec,
      imageDigest: builds.imageDigest,
    })
    .from(builds)
    .where(and(eq(builds.hostId, hostId), sql`${builds.id} in (select value from json_each(${JSON.stringify(ids)}))`))
}
