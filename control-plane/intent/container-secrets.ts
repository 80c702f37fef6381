import type { ContainerSpec } from '#shared/domain/container.ts'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ContainerSecrets } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findContainerById } from '../store/containers.ts'
import { openSecrets, requireSecrets } from './secrets.ts'

/** Whoever names a secret that is not there is told at once. Errors: `secret.not-found`. */
export async function requireSecretsOf(ports: Ports, spec: ContainerSpec): Promise<void> {
  const names = secretNamesOf(spec)
  if (names.length > 0) await requireSecrets(ports, names)
}

/**
 * What a host may know of secrets: those of a container that it has. Errors: `container.not-found`, `container.removing`,
 * `secret.not-found`, `secret.key-missing`, `secret.key-wrong`.
 */
export async function secretsForContainer(ports: Ports, hostId: HostId, id: ContainerId): Promise<ContainerSecrets> {
  const found = await findContainerById(ports.db, id)
  if (found?.container.hostId !== hostId) {
    throw new SlipwayError('container.not-found', `This host has no container ${id}.`)
  }
  const { spec, goal } = found.container
  if (goal.kind === 'removed') throw new SlipwayError('container.removing', `Container ${id} needs no secret any more.`)
  const names = secretNamesOf(spec)
  return { secrets: names.length > 0 ? Object.fromEntries(await openSecrets(ports, names)) : {} }
}

function secretNamesOf({ security }: ContainerSpec): string[] {
  return [...new Set((security?.secrets ?? []).map(({ name }) => name))]
}
