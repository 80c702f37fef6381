import type { ObservedContainer } from '#shared/domain/container.ts'
import type { HostId } from '#shared/domain/ids.ts'
import type { Report } from '#shared/protocol/agent.ts'
import { ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { retellStatuses } from '../store/commit-statuses.ts'
import { removeEnded } from '../store/container-life.ts'
import { insertEvents, type NewEvent } from '../store/events.ts'
import { findHost } from '../store/hosts.ts'
import {
  buildsByIds,
  containersByIds,
  forgetContainers,
  recordBuilds,
  recordContainers,
  recordHost,
  recordSizes,
} from '../store/ingest.ts'
import { builtUpdates } from './built-updates.ts'
import { containerTransitions } from './transitions.ts'

/**
 * Takes what an agent saw into the observed state, in one batch whatever its size, and tells those who wait. A repeat
 * or a late report changes nothing and makes no event.
 */
export async function ingestReport(ports: Ports, hostId: HostId, said: Report): Promise<void> {
  const { db, clock } = ports
  const now = clock.now()
  const report = { ...said, containers: said.containers.map(seen => notAhead(seen, now)) }
  const containerIds = report.containers.map(({ id }) => id)
  const buildIds = report.builds.map(({ id }) => id)
  const [host, known, knownBuilds] = await Promise.all([
    findHost(db, hostId),
    containerIds.length > 0 ? containersByIds(db, hostId, containerIds) : [],
    buildIds.length > 0 ? buildsByIds(db, hostId, buildIds) : [],
  ])
  const events: NewEvent[] = []
  if (host && host.observedAt === null)
    events.push({ at: now, type: 'host.join', subjectId: hostId, data: { name: host.name } })

  const rows = new Map(known.map(row => [row.id, row]))
  const changed: string[] = []
  const fresh = report.containers.filter(seen => {
    const row = rows.get(seen.id)
    return row && seen.generation >= row.observedGeneration && seen.observedAt >= (row.observedAt ?? 0)
  })
  for (const seen of fresh) {
    const row = rows.get(seen.id)
    changed.push(seen.id)
    for (const transition of row ? containerTransitions(row.observed, seen) : [])
      events.push({
        at: seen.observedAt,
        subjectId: seen.id,
        type: transition.type,
        data: { name: row?.name, ...transition.data },
      })
  }
  const open = new Map(knownBuilds.map(({ id, state }) => [id, state]))
  const freshBuilds = report.builds.filter(({ id }) => ['queued', 'running'].includes(open.get(id) ?? ''))
  for (const { id, observed } of freshBuilds) {
    if (open.get(id) !== observed.state)
      events.push({ at: now, type: `build.${observed.state}`, subjectId: id, data: {} })
  }
  const updates = await builtUpdates(ports, host, knownBuilds, freshBuilds, now)
  events.push(...updates.events)
  const freshIds = freshBuilds.map(({ id }) => id)
  const ended = fresh.filter(({ status, id }) => status.state === 'exited' && rows.get(id)?.spec.isAutoRemoved)
  const endedIds = ended.map(({ id }) => id)
  const gone = fresh.filter(({ status }) => status.state === 'absent').map(({ id }) => id)
  await db.batch([
    recordHost(db, hostId, report, now),
    ...(report.usage ? [recordSizes(db, hostId, report.usage.containers)] : []),
    ...(fresh.length > 0 ? [recordContainers(db, hostId, fresh)] : []),
    ...(ended.length > 0 ? removeEnded(db, hostId, endedIds) : []),
    ...(gone.length > 0 ? forgetContainers(db, hostId, gone) : []),
    ...updates.statements,
    ...(freshBuilds.length > 0 ? [recordBuilds(db, hostId, freshBuilds), retellStatuses(db, freshIds, now)] : []),
    ...(events.length > 0 ? [insertEvents(db, events)] : []),
  ])
  await Promise.all([
    ...[...updates.hosts, ...(ended.length > 0 ? [hostId] : [])].map(id => ringHost(ports, id)),
    ringChanged(ports, 'container', [...changed, ...updates.containers]),
    ringChanged(ports, 'build', freshIds),
    events.length > 0 ? ringEvents(ports) : undefined,
  ])
}

/** A host's clock may be ahead; once it is put right, what it says must not seem older than what it said. */
function notAhead(seen: ObservedContainer, now: number): ObservedContainer {
  return { ...seen, observedAt: Math.min(seen.observedAt, now) }
}
