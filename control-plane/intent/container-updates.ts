import type { ContainerSpec } from '#shared/domain/container.ts'
import { refusalOf } from '#shared/domain/host-abilities.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { UpdateContainer } from '#shared/protocol/containers.ts'
import { ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { resolveImage } from '../registry/resolve.ts'
import { insertUpdateEvent, updateSpec } from '../store/container-updates.ts'
import { type ContainerOnHost, findContainerById } from '../store/containers.ts'
import { bumpGeneration } from '../store/hosts.ts'
import { requireScopes } from './container-scopes.ts'
import { requireSecretsOf } from './container-secrets.ts'
import { updatedSpec } from './container-spec.ts'
import { requireContainer } from './containers.ts'
import { nextGoal } from './goals.ts'
import type { Principal } from './principal.ts'

const RACES = 5

/**
 * Replaces what a container is, in place: id, name, host, address and published ports stay, files begin anew. What is asked to
 * run is stopped once the new image is there, and begins again. Limits, the restart policy and the way it ends alone change
 * in the run that goes on. Errors: `container.not-found`, `container.removing`, those of
 * the image and the spec.
 */
export async function updateContainer(
  ports: Ports,
  principal: Pick<Principal, 'scopes'>,
  idOrName: string,
  { signal, timeout, ...asked }: UpdateContainer,
): Promise<ContainerOnHost> {
  const end = { signal, timeoutMs: timeout === undefined ? undefined : Math.round(timeout * 1000) }
  for (let attempt = 1; attempt <= RACES; attempt++) {
    const found = await requireContainer(ports, idOrName)
    const { container } = found
    const wanted = nextGoal(container, { kind: 'update', end })
    const image = await imageFor(ports, found, asked.image)
    const spec = updatedSpec(container.spec, asked, image)
    if (!spec) return found
    // Of the run that goes on until then, too: whoever may not have it may not lower what it is asked for.
    for (const one of [container.spec, spec]) requireScopes(principal, one)
    requireAble(found.host, spec)
    await requireSecretsOf(ports, spec)
    const isLive = (spec.revision ?? 0) === (container.spec.revision ?? 0)
    const goal = isLive ? container.goal : (wanted?.goal ?? container.goal)
    const data = { name: container.name, image: spec.image, revision: spec.revision }
    const [, changed] = await ports.db.batch([
      bumpGeneration(ports.db, container.hostId),
      updateSpec(ports.db, container, { spec, goal }),
      insertUpdateEvent(ports.db, container, ports.clock.now(), data),
    ])
    await Promise.all([
      ringHost(ports, container.hostId),
      ringChanged(ports, 'container', [container.id]),
      ringEvents(ports),
    ])
    if (changed.length > 0) return (await findContainerById(ports.db, container.id)) ?? found
  }
  throw new SlipwayError('store.unavailable', 'This container is being changed by many at once: try again.')
}

function requireAble({ name, observedFacts }: ContainerOnHost['host'], spec: ContainerSpec): void {
  const refusal = observedFacts?.abilities && refusalOf(spec, observedFacts.abilities)
  if (refusal) throw new SlipwayError('host.unable', `Host ${name} cannot run this container: ${refusal}.`)
}

/** For the host that has the container. */
async function imageFor(ports: Ports, { container, host }: ContainerOnHost, asked: string | undefined) {
  const architecture = host.observedFacts?.architecture
  const reference = asked ?? sameImage(container.spec)
  const image = await resolveImage(ports, reference, architecture === undefined ? [] : [architecture])
  if (architecture === undefined || image.config.architecture === architecture) return image
  const message = `${reference} is for ${image.config.architecture}, and the container's host is ${architecture}: build it for that.`
  throw new SlipwayError('image.wrong-architecture', message)
}

function sameImage({ image, imageDigest }: ContainerSpec): string {
  return `${parseImageReference(image).repository}@${imageDigest}`
}
