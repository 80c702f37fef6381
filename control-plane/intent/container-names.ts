import { SlipwayError } from '#shared/errors.ts'
import { ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { insertRenameEvent, updateName } from '../store/container-life.ts'
import { type ContainerOnHost, findContainerById } from '../store/containers.ts'
import { bumpGeneration } from '../store/hosts.ts'
import { uniqueViolation } from '../store/violations.ts'
import { requireContainer } from './containers.ts'

const RACES = 5

/** Gives a container another name. Errors: `container.not-found`, `container.removing`, `container.name-taken`. */
export async function renameContainer(ports: Ports, idOrName: string, name: string): Promise<ContainerOnHost> {
  for (let attempt = 1; attempt <= RACES; attempt++) {
    const found = await requireContainer(ports, idOrName)
    const { container } = found
    if (container.goal.kind === 'removed') {
      throw new SlipwayError('container.removing', `Container ${container.name} is being removed.`)
    }
    if (container.name === name) return found
    const { db, clock } = ports
    const [, changed] = await db
      .batch([
        bumpGeneration(db, container.hostId),
        updateName(db, container, name),
        insertRenameEvent(db, container, clock.now(), name),
      ])
      .catch(error => {
        if (!uniqueViolation(error)?.includes('containers.name')) throw error
        const fix = 'choose another name, or remove that one.'
        throw new SlipwayError('container.name-taken', `A container is called ${name} already: ${fix}`)
      })
    await Promise.all([
      ringHost(ports, container.hostId),
      ringChanged(ports, 'container', [container.id]),
      ringEvents(ports),
    ])
    if (changed.length > 0) return (await findContainerById(db, container.id)) ?? found
  }
  throw new SlipwayError('store.unavailable', 'This container is being changed by many at once: try again.')
}
