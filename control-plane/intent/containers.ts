import { type ContainerSpec, containerGoalSchema } from '#shared/domain/container.ts'
import { type HostFacts, leastFreeBytes } from '#shared/domain/host.ts'
import { type HostAbilities, refusalOf } from '#shared/domain/host-abilities.ts'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { newId } from '#shared/domain/ids.ts'
import type { PublishedPort } from '#shared/domain/port.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CreateContainer } from '#shared/protocol/containers.ts'
import { ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { resolveImage } from '../registry/resolve.ts'
import {
  type ContainerOnHost,
  findContainer,
  findContainerById,
  hostsHolding,
  insertContainer,
  insertPorts,
  listContainers,
  type NewContainer,
  portHolders,
  takenAddresses,
  updateGoal,
} from '../store/containers.ts'
import { insertEvents } from '../store/events.ts'
import { bumpGeneration, hostsWithLoad } from '../store/hosts.ts'
import { uniqueViolation } from '../store/violations.ts'
import { freeAddress } from './addresses.ts'
import { requireScopes } from './container-scopes.ts'
import { requireSecretsOf } from './container-secrets.ts'
import { containerSpec } from './container-spec.ts'
import { viewContainer } from './container-view.ts'
import { hostsFor, resolveDependencies } from './dependencies.ts'
import { nextGoal, type Order } from './goals.ts'
import { requireHost } from './hosts.ts'
import { type Created, type Creation, createOnce } from './idempotency.ts'
import { decodeCursor, page, timePositionSchema } from './page-position.ts'
import { chooseHost } from './place.ts'

const RACES = 5

/** Errors: `container.not-found`. */
export async function requireContainer(ports: Ports, idOrName: string): Promise<ContainerOnHost> {
  const found = await findContainer(ports.db, idOrName)
  if (found) return found
  throw new SlipwayError('container.not-found', `There is no container ${idOrName}. GET /v1/containers lists them.`)
}

/**
 * Makes a container's desired state: host, addresses and spec in one atomic batch, then rings its host. Errors: those
 * of the image, placement, dependencies and spec; `container.name-taken`, `port.taken`, `host.addresses-exhausted`.
 */
export async function createContainer(
  ports: Ports,
  asked: CreateContainer,
  creation: Creation,
): Promise<Created<ContainerId>> {
  const id = newId<ContainerId>(ports.random)
  return createOnce(ports, creation, id, async record => {
    const dependencies = await resolveDependencies(ports, asked.dependsOn)
    const hosts = hostsFor(await candidates(ports), dependencies, asked.host)
    const image = await resolveImage(ports, asked.image, architecturesOf(hosts, asked.host))
    const spec = containerSpec(asked, image, dependencies?.list)
    requireScopes(creation.principal, spec)
    await requireSecretsOf(ports, spec)
    const able = withAbilities(hosts, spec)
    const host = chooseHost(await withFreePorts(ports, able, asked.host, spec.ports), {
      host: asked.host,
      architecture: image.config.architecture,
      now: ports.clock.now(),
    })
    const hostId = host.id as HostId
    const row = {
      id,
      name: asked.name ?? nameFor(spec.image, id),
      hostId,
      spec,
      goal: asked.start === false ? ({ kind: 'created' } as const) : ({ kind: 'running', run: 1 } as const),
      createdAt: ports.clock.now(),
    }
    await insertWithAddress(ports, row, record)
  })
}

const NAME_LIMIT = 63

/** The image's last word and the id's beginning. */
function nameFor(image: string, id: ContainerId): string {
  const suffix = `-${id.slice(0, 6)}`
  const word = parseImageReference(image).repository.split('/').at(-1) ?? ''
  return word.slice(0, NAME_LIMIT - suffix.length) + suffix
}

/** Errors: `cursor.invalid`, `host.not-found`. */
export async function listContainerPage(ports: Ports, limit: number, cursor: string | undefined, host?: string) {
  const after = decodeCursor(cursor, { createdAt: -1, id: '' }, timePositionSchema)
  const hostId = host === undefined ? undefined : (await requireHost(ports, host)).id
  return page(
    limit,
    count => listContainers(ports.db, after, count, hostId),
    row => viewContainer(ports, row),
    ({ container }) => ({ createdAt: container.createdAt, id: container.id }),
  )
}

type HostLoad = Awaited<ReturnType<typeof candidates>>[number]

/** Hosts as placement sees them. Costs a row a host. */
export async function candidates(ports: Ports) {
  return (await hostsWithLoad(ports.db)).map(({ host, load }) => ({
    id: host.id,
    name: host.name,
    architecture: host.observedFacts?.architecture,
    lastSeenAt: host.observedAt ?? undefined,
    hasRoom: hasRoom(host.observedFacts),
    abilities: host.observedFacts?.abilities,
    load,
  }))
}

/** What each of them cannot do of this container, as far as is known: the host itself says so, too, when it starts it. Pure. */
export function withAbilities<T extends { abilities?: HostAbilities | undefined }>(
  hosts: readonly T[],
  spec: ContainerSpec,
): (T & { refusal: string | undefined })[] {
  return hosts.map(host => ({ ...host, refusal: host.abilities && refusalOf(spec, host.abilities) }))
}

/** As it was said last: the host itself refuses what does not fit. */
function hasRoom(facts: HostFacts | null): boolean {
  return facts === null || facts.diskFreeBytes >= leastFreeBytes(facts.diskBytes)
}

/** Any host will do for whom names none: then those whose ports are held are left out, unless all are. */
async function withFreePorts(
  ports: Ports,
  hosts: readonly HostLoad[],
  asked: string | undefined,
  wanted: readonly PublishedPort[],
) {
  if (asked !== undefined || wanted.length === 0) return hosts
  const holding = new Set(await hostsHolding(ports.db, wanted))
  const free = hosts.filter(({ id }) => !holding.has(id))
  return free.length > 0 ? free : hosts
}

/** What an index may be resolved for: the architectures of the hosts in question, those of the emptiest first. */
function architecturesOf(hosts: readonly HostLoad[], asked: string | undefined): string[] {
  const fitting = hosts.filter(({ id, name }) => !asked || asked === id || asked === name)
  const known = fitting.sort((a, b) => a.load - b.load).flatMap(({ architecture }) => architecture ?? [])
  return [...new Set(known)]
}

/** The address is chosen from what is free now; another create at the same moment may win it, so it is tried again. */
async function insertWithAddress(
  ports: Ports,
  row: Omit<NewContainer, 'addressIndex'>,
  record: Parameters<Parameters<typeof createOnce>[3]>[0],
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const addressIndex = freeAddress(await takenAddresses(ports.db, row.hostId))
    if (addressIndex === undefined) {
      throw new SlipwayError(
        'host.addresses-exhausted',
        'This host has no free address: remove containers or choose another host.',
      )
    }
    try {
      return await insertAll(ports, { ...row, addressIndex }, record)
    } catch (error) {
      const violated = uniqueViolation(error) ?? ''
      const isAddressRace = violated.includes('containers.address_index') && attempt < RACES
      if (!isAddressRace) throw (await clash(ports, row, violated)) ?? error
    }
  }
}

async function insertAll(
  ports: Ports,
  row: NewContainer,
  record: Parameters<Parameters<typeof createOnce>[3]>[0],
): Promise<void> {
  const { db } = ports
  const event = { at: row.createdAt, type: 'container.create', subjectId: row.id, data: { name: row.name } }
  await db.batch([
    bumpGeneration(db, row.hostId),
    insertContainer(db, row),
    insertPorts(db, row),
    insertEvents(db, [event]),
    ...record,
  ])
  await announce(ports, row.hostId, row.id)
}

async function announce(ports: Ports, hostId: HostId, id: ContainerId): Promise<void> {
  await Promise.all([ringHost(ports, hostId), ringChanged(ports, 'container', [id]), ringEvents(ports)])
}

/** What a unique index refused, in a person's words. */
async function clash(ports: Ports, row: Omit<NewContainer, 'addressIndex'>, violated: string) {
  if (violated.includes('containers.name')) {
    return new SlipwayError(
      'container.name-taken',
      `A container is called ${row.name} already: choose another name, or remove that one.`,
    )
  }
  if (violated.includes('published_ports')) {
    const [holder] = await portHolders(ports.db, row.hostId, row.spec.ports)
    const port = holder ? `${holder.hostPort}/${holder.protocol}` : 'of those'
    return new SlipwayError(
      'port.taken',
      `Host port ${port} is held by container ${holder?.name ?? 'another'}: choose another port, or remove that container.`,
      {
        facts: holder ? { hostPort: holder.hostPort, protocol: holder.protocol, heldBy: holder.name } : {},
      },
    )
  }
  return undefined
}

/**
 * Removes a container of this host that has ended and been kept for its time. Errors: `container.not-found`,
 * `container.kept` when that is not so (any more).
 */
export async function expireContainer(ports: Ports, hostId: HostId, id: ContainerId): Promise<void> {
  const found = await findContainerById(ports.db, id)
  if (found?.container.hostId !== hostId) {
    throw new SlipwayError('container.not-found', `This host has no container ${id}.`)
  }
  await orderContainer(ports, id, { kind: 'expire', now: ports.clock.now() })
}

/** Changes what a container should be. Someone else's change at the same moment makes us look and decide again. */
export async function orderContainer(ports: Ports, idOrName: string, order: Order): Promise<ContainerOnHost> {
  for (let attempt = 1; attempt <= RACES; attempt++) {
    const found = await requireContainer(ports, idOrName)
    const { container } = found
    const wanted = nextGoal(container, order)
    if (!wanted) return found
    const [, changed] = await ports.db.batch([
      bumpGeneration(ports.db, container.hostId),
      // With the agents' own schema: what they could not read must not become desired state.
      updateGoal(ports.db, container, { ...wanted, goal: containerGoalSchema.parse(wanted.goal) }),
    ])
    await announce(ports, container.hostId, container.id)
    if (changed.length > 0) return (await findContainerById(ports.db, container.id)) ?? found
  }
  throw new SlipwayError('store.unavailable', 'This container is being changed by many at once: try again.')
}
