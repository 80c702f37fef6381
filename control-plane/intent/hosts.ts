import { type HostId, newId, type TokenId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { HostView } from '#shared/protocol/hosts.ts'
import type { Ports } from '../ports.ts'
import { insertEvents } from '../store/events.ts'
import { deleteHost, findHost, forgetHost, type HostRow, hostsWithLoad, insertHost, listHosts } from '../store/hosts.ts'
import { insertToken } from '../store/tokens.ts'
import { uniqueViolation } from '../store/violations.ts'
import { hostSubnet, poolSize } from './addresses.ts'
import { iso } from './container-view.ts'
import { type Creation, createOnce } from './idempotency.ts'
import { pageByName } from './page-position.ts'
import { isReady } from './place.ts'
import { hashToken, newToken } from './principal.ts'

/** A host and its own token, which is in this answer alone. Errors: `host.name-taken`, `idempotency.secret-shown-once`. */
export async function createHost(
  ports: Ports,
  name: string,
  creation: Creation,
): Promise<{ host: HostRow; token: string }> {
  const token = newToken(ports.random)
  const hash = await hashToken(token)
  const id = newId<HostId>(ports.random)
  const created = await createOnce(ports, creation, id, record => insertWhole(ports, { id, name }, hash, record))
  if (created.isReplayed) {
    throw new SlipwayError(
      'idempotency.secret-shown-once',
      'This host was made by an earlier request, which alone got its token. Remove it and make it anew.',
    )
  }
  const host = await requireHost(ports, created.id)
  return { host, token }
}

async function insertWhole(
  ports: Ports,
  { id, name }: { id: HostId; name: string },
  hash: string,
  record: Parameters<Parameters<typeof createOnce>[3]>[0],
) {
  const { db, clock, random, config } = ports
  if ((await hostsWithLoad(db)).length >= poolSize(config.addressPool)) {
    throw new SlipwayError(
      'host.addresses-exhausted',
      `The pool ${config.addressPool} has no subnet left: configure a larger one.`,
    )
  }
  const createdAt = clock.now()
  try {
    await db.batch([
      insertHost(db, { id, name, createdAt }),
      insertToken(db, { id: newId<TokenId>(random), name: `host ${name}`, hash, hostId: id, scopes: null, createdAt }),
      insertEvents(db, [{ at: createdAt, type: 'host.create', subjectId: id, data: { name } }]),
      ...record,
    ])
  } catch (error) {
    if (!uniqueViolation(error)?.includes('hosts.name')) throw error
    throw new SlipwayError('host.name-taken', `A host is called ${name} already: choose another name.`)
  }
}

export async function requireHost(ports: Ports, idOrName: string): Promise<HostRow> {
  const host = await findHost(ports.db, idOrName)
  if (host) return host
  throw new SlipwayError('host.not-found', `There is no host ${idOrName}. GET /v1/hosts lists them.`)
}

/**
 * Errors: `host.not-found`, `host.in-use` while containers are placed on it or builds of it have not ended. By force a
 * host that is not ready goes with all of those, but for builds that another may do: a lost machine says nothing any more.
 */
export async function removeHost(ports: Ports, idOrName: string, isForced: boolean): Promise<void> {
  const host = await requireHost(ports, idOrName)
  if (isForced) return forget(ports, host)
  if (await deleteHost(ports.db, host.id)) return
  const load = (await hostsWithLoad(ports.db)).find(entry => entry.host.id === host.id)?.load ?? 0
  throw new SlipwayError(
    'host.in-use',
    load > 0
      ? `Host ${host.name} holds ${load} containers: remove them first.`
      : `Host ${host.name} has builds that have not ended: cancel them, or wait.`,
  )
}

async function forget(ports: Ports, host: HostRow): Promise<void> {
  if (isReady(host.observedAt, ports.clock.now())) {
    throw new SlipwayError(
      'host.in-use',
      `Host ${host.name} is ready: stop its agent first, and wait until it reads unknown. What runs there goes on.`,
    )
  }
  await forgetHost(ports.db, host.id, ports.clock.now())
  await insertEvents(ports.db, [
    { at: ports.clock.now(), type: 'host.remove', subjectId: host.id, data: { name: host.name } },
  ])
}

export function viewHost(ports: Ports, host: HostRow): HostView {
  return {
    id: host.id,
    name: host.name,
    state: isReady(host.observedAt, ports.clock.now()) ? 'ready' : 'unknown',
    subnet: hostSubnet(ports.config.addressPool, host.subnetIndex).subnet,
    generation: host.generation,
    observedGeneration: host.observedGeneration,
    createdAt: iso(host.createdAt),
    lastSeenAt: host.observedAt ? iso(host.observedAt) : undefined,
    facts: host.observedFacts ?? undefined,
    disk: host.observedDisk ? { ...host.observedDisk, measuredAt: iso(host.observedDisk.measuredAt) } : undefined,
  }
}

export function listHostPage(ports: Ports, limit: number, cursor: string | undefined) {
  return pageByName(
    { limit, cursor },
    (after, count) => listHosts(ports.db, after, count),
    host => viewHost(ports, host),
    ({ name }) => name,
  )
}
