import type { Dependency } from '#shared/domain/container-life.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CreateContainer } from '#shared/protocol/containers.ts'
import type { Ports } from '../ports.ts'
import { findContainers } from '../store/container-life.ts'

export interface Dependencies {
  list: Dependency[]
  /** Where all of them are. */
  hostId: HostId
}

/**
 * What a container that is being made depends on. All of it is there already and an update changes none of it, so no circle
 * can come about. Undefined: nothing. Errors: `container.not-found`, `container.removing`, `container.dependency-elsewhere`.
 */
export async function resolveDependencies(
  ports: Ports,
  asked: CreateContainer['dependsOn'],
): Promise<Dependencies | undefined> {
  if (!asked || asked.length === 0) return undefined
  const known = await findContainers(
    ports.db,
    asked.map(({ container }) => container),
  )
  const found = asked.map(({ container: idOrName, condition }) => {
    const row = known.find(({ id }) => id === idOrName) ?? known.find(({ name }) => name === idOrName)
    if (!row)
      throw new SlipwayError('container.not-found', `There is no container ${idOrName} to depend on: make it first.`)
    if (row.goal.kind === 'removed')
      throw new SlipwayError('container.removing', `Container ${row.name} is being removed.`)
    return { ...row, condition }
  })
  const hosts = new Set(found.map(({ hostId }) => hostId))
  const [hostId] = hosts
  if (hosts.size !== 1 || hostId === undefined) {
    const names = found.map(({ name }) => name).join(', ')
    throw elsewhere(`${names} are on different hosts: a container and what it depends on share one.`)
  }
  return { list: found.map(({ id, condition }) => ({ container: id, condition })), hostId }
}

/** The host of the dependencies alone. Errors: `container.dependency-elsewhere` where another one was asked for. */
export function hostsFor<T extends { id: string; name: string }>(
  hosts: readonly T[],
  dependencies: Dependencies | undefined,
  asked: string | undefined,
): readonly T[] {
  if (!dependencies) return hosts
  const there = hosts.filter(({ id }) => id === dependencies.hostId)
  const [host] = there
  if (asked === undefined || !host || asked === host.id || asked === host.name) return there
  throw elsewhere(`What it depends on is on host ${host.name}, not on ${asked}: name that host, or none.`)
}

function elsewhere(sentence: string): SlipwayError {
  return new SlipwayError('container.dependency-elsewhere', sentence)
}
