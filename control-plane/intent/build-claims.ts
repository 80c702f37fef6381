import { HOST_SILENT_MS } from '#shared/domain/host.ts'
import { type BuildId, type HostId, newId } from '#shared/domain/ids.ts'
import { type Fault, SlipwayError } from '#shared/errors.ts'
import type { BuildLogLine, ClaimedBuild } from '#shared/protocol/agent.ts'
import { ringBuildQueue, ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import {
  afterClaim,
  type Claimant,
  claimBuild,
  endStranded,
  MAX_ATTEMPTS,
  nextBuild,
  releaseBuild,
  strandedBuilds,
} from '../store/build-queue.ts'
import { type BuildRow, lastStepOf } from '../store/builds.ts'
import { retellStatuses } from '../store/commit-statuses.ts'
import { insertEvents } from '../store/events.ts'
import { findHost, type HostRow } from '../store/hosts.ts'
import { howItEnded, isFinished, requireBuild } from './build-view.ts'
import { desiredBuild } from './desired.ts'
import { requireHost } from './hosts.ts'
import { isReady } from './place.ts'

/** Others may be faster again and again; then this host asks anew later. */
const RACES = 5
const ENDED_PER_SWEEP = 50

/**
 * Gives a host a build to begin: the one that it names, if that is its own or may be taken, or the next that waits and fits.
 * Undefined: there is none for it. Of many hosts at once exactly one gets a build; each begin counts, and a build that was
 * begun `MAX_ATTEMPTS` times fails instead. Errors: `host.not-found`; of one that is named `build.not-found`, and `build.taken`
 * where it waits for nobody.
 */
export async function claimFor(
  ports: Ports,
  hostId: HostId,
  id: BuildId | undefined,
): Promise<ClaimedBuild | undefined> {
  const host = await requireHost(ports, hostId)
  const who = claimantOf(host, ports.clock.now())
  for (let race = 0; race < RACES; race++) {
    const seen = await nextBuild(ports.db, who, ports.clock.now(), id)
    if (!seen) {
      if (id !== undefined) await refuseTaken(ports, id)
      return undefined
    }
    if (seen.attempts >= MAX_ATTEMPTS) await endBuild(ports, seen, exhausted())
    else {
      const row = await claimOne(ports, who, host, seen)
      if (row) return { build: desiredBuild(row), logFrom: row.logLines, stepFrom: await stepsIn(ports, row) }
    }
  }
  return undefined
}

/** Before most builds nobody wrote anything. */
async function stepsIn({ db }: Ports, { id, logLines }: BuildRow): Promise<number> {
  return logLines === 0 ? 0 : lastStepOf(db, id)
}

/**
 * Gives a build back that a host stops building before its end, as an agent does that is stopped in order: no attempt is lost.
 * What the host does not have, or what is to be canceled, stays as it is.
 */
export async function releaseFor(ports: Ports, hostId: HostId, id: string): Promise<void> {
  const host = await requireHost(ports, hostId)
  const text = `host ${host.name} was stopped: the build goes back into the queue`
  const line = { at: ports.clock.now(), stream: 'step', mark: 'anew', text } as const
  const [, , [row]] = await ports.db.batch([...releaseBuild(ports.db, id, hostId, line)])
  if (!row) return
  await Promise.all([row.hostId === null && ringBuildQueue(ports, row.id), ringChanged(ports, 'build', [row.id])])
}

/** Whether a build that this host does not get is one that another may get still. */
async function refuseTaken(ports: Ports, id: BuildId): Promise<void> {
  const { build } = await requireBuild(ports, id)
  if (build.state === 'queued' && build.hostId === null && build.goal === 'built') return
  throw new SlipwayError(
    'build.taken',
    `Build ${id} waits for no host: it ${isFinished(build.state) ? howItEnded(build.state) : 'has one'}.`,
  )
}

function claimantOf({ id, observedFacts, observedAt, observedSince }: HostRow, now: number): Claimant {
  return {
    id,
    architecture: observedFacts?.architecture,
    labels: observedFacts?.labels ?? {},
    canTakeOver: isReady(observedAt, now) && now - (observedSince ?? now) >= HOST_SILENT_MS,
  }
}

/** Undefined: another host was faster. */
async function claimOne(ports: Ports, who: Claimant, host: HostRow, seen: BuildRow): Promise<BuildRow | undefined> {
  const { db } = ports
  const now = ports.clock.now()
  const claim = newId<BuildId>(ports.random)
  const note = seen.attempts === 0 ? undefined : await noteOf(ports, host, seen)
  const [, , , [row]] = await db.batch([
    claimBuild(db, who, seen, claim, now),
    ...afterClaim(
      db,
      who,
      seen,
      claim,
      note === undefined ? undefined : { at: now, stream: 'step', mark: 'anew', text: note },
    ),
  ])
  if (!row) return undefined
  if (note !== undefined) {
    const data = { host: host.name, attempt: row.attempts }
    await insertEvents(db, [{ at: now, type: 'build.retry', subjectId: row.id, data }])
    await ringEvents(ports)
  }
  const lostIt = seen.hostId !== null && seen.hostId !== who.id ? seen.hostId : undefined
  await Promise.all([ringChanged(ports, 'build', [row.id]), lostIt && ringHost(ports, lostIt)])
  return row
}

/** What the log says where one attempt ends and the next begins. */
async function noteOf(ports: Ports, host: HostRow, { hostId, attempts }: BuildRow): Promise<BuildLogLine['text']> {
  const count = `attempt ${attempts + 1} of ${MAX_ATTEMPTS}`
  if (hostId === host.id) return `host ${host.name} begins again: its agent was started anew (${count})`
  const before = hostId === null ? undefined : await findHost(ports.db, hostId)
  const gone = before ? `host ${before.name} was not heard of any more: ` : '' // It was removed, or gave the build back.
  return `${gone}host ${host.name} takes over (${count})`
}

interface End {
  state: 'failed' | 'canceled'
  observedError: Fault | null
}

function exhausted(): End {
  const message = `The build was begun ${MAX_ATTEMPTS} times, and each time its host or agent died before the end: see whether it takes more memory or disk than its hosts have, then build again.`
  return { state: 'failed', observedError: { code: 'build.attempts-exhausted', message } }
}

/** Ends a build in the place of a host, if nobody has taken it since. */
async function endBuild(ports: Ports, seen: BuildRow, end: End): Promise<void> {
  const { db } = ports
  const now = ports.clock.now()
  const [, ended] = await db.batch([...endStranded(db, seen, end, now)])
  if (ended.length === 0) return
  await db.batch([
    retellStatuses(db, [seen.id], now),
    insertEvents(db, [{ at: now, type: `build.${end.state}`, subjectId: seen.id, data: {} }]),
  ])
  const { hostId } = seen
  await Promise.all([ringChanged(ports, 'build', [seen.id]), ringEvents(ports), hostId && ringHost(ports, hostId)])
}

/** Ends builds that nobody else will: what has waited too long for a host, and what a lost host can end no more. */
export async function endStrandedBuilds(ports: Ports): Promise<void> {
  const { waitMs } = ports.config.builds
  const now = ports.clock.now()
  for (const seen of await strandedBuilds(ports.db, now, waitMs, ENDED_PER_SWEEP)) {
    if (seen.goal === 'canceled') await endBuild(ports, seen, { state: 'canceled', observedError: null })
    else if (seen.attempts >= MAX_ATTEMPTS) await endBuild(ports, seen, exhausted())
    else await endBuild(ports, seen, waitedTooLong(seen, waitMs))
  }
}

function waitedTooLong({ hostId, claim }: BuildRow, waitMs: number): End {
  const time = `${waitMs / 60_000} minutes`
  const what =
    hostId !== null && claim !== null
      ? `The host that has the build was not heard of for ${time}, and no other took it`
      : `No host took the build within ${time}`
  const message = `${what}: see GET /v1/hosts for one that is ready and fits, then build again.`
  return { state: 'failed', observedError: { code: 'build.no-host', message } }
}
