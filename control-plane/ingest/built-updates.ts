import type { Digest } from '#shared/digest.ts'
import type { BuildUpdate } from '#shared/domain/build.ts'
import { commandOf } from '#shared/domain/command.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import { imageConfigSchema } from '#shared/domain/image.ts'
import { SlipwayError, toFault } from '#shared/errors.ts'
import type { Report } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { type BuiltUpdate, orderBuiltUpdates, recordUpdates } from '../store/container-updates.ts'
import { type ContainerOnHost, findContainer } from '../store/containers.ts'
import type { Statement } from '../store/database.ts'
import type { NewEvent } from '../store/events.ts'
import type { HostRow } from '../store/hosts.ts'
import type { buildsByIds } from '../store/ingest.ts'
import { findManifest, type ManifestRow } from '../store/manifests.ts'

type KnownBuild = Awaited<ReturnType<typeof buildsByIds>>[number]

export interface BuiltUpdates {
  /** For the batch that records the builds, before that. */
  statements: Statement[]
  events: NewEvent[]
  hosts: Set<HostId>
  containers: string[]
}

/** What is to be updated, now that these builds have succeeded. A container that cannot be is told in its build, and fails nothing. */
export async function builtUpdates(
  ports: Ports,
  builder: HostRow | undefined,
  known: readonly KnownBuild[],
  fresh: Report['builds'],
  now: number,
): Promise<BuiltUpdates> {
  const found: BuiltUpdates = { statements: [], events: [], hosts: new Set(), containers: [] }
  /** What each container will have after the builds before, which come as if each were told by itself. */
  const images = new Map<string, Digest>()
  for (const { id, observed } of inOrderOfEnd(fresh)) {
    const ordered: BuiltUpdate[] = []
    const build = known.find(row => row.id === id)
    const names = build?.spec.kind === 'dockerfile' ? (build.spec.update ?? []) : []
    if (!build || observed.state !== 'succeeded' || build.goal !== 'built' || names.length === 0) continue
    const updates: BuildUpdate[] = []
    for (const name of new Set(names)) {
      try {
        const image = imageOf(build)
        const { container } = fitting(await findContainer(ports.db, name), name, builder)
        requireCommand(container.spec, image.image, await findManifest(ports.db, image.imageDigest))
        const update = { build: id as BuildId, container: container.id, ...image }
        ordered.push(update)
        found.hosts.add(container.hostId)
        found.containers.push(container.id)
        const data = { name: container.name, image: update.image, build: id }
        if ((images.get(container.id) ?? container.spec.imageDigest) !== update.imageDigest)
          found.events.push({ at: now, type: 'container.update', subjectId: container.id, data })
        images.set(container.id, update.imageDigest)
        updates.push({ container: name })
      } catch (error) {
        if (!(error instanceof SlipwayError)) throw error
        updates.push({ container: name, error: toFault(error) })
        found.events.push({
          ...{ at: now, type: 'build.update-failed', subjectId: id, data: { container: name, code: error.code } },
        })
      }
    }
    found.statements.push(recordUpdates(ports.db, id as BuildId, updates))
    if (ordered.length > 0) found.statements.push(...orderBuiltUpdates(ports.db, ordered))
  }
  return found
}

/** The tag is of the build that ended last, and so are the containers. */
function inOrderOfEnd(builds: Report['builds']): Report['builds'] {
  const endOf = ({ observed }: Report['builds'][number]) => ('finishedAt' in observed ? observed.finishedAt : 0)
  return builds.toSorted((a, b) => endOf(a) - endOf(b))
}

function fitting(found: ContainerOnHost | undefined, name: string, builder: HostRow | undefined): ContainerOnHost {
  if (!found || found.container.goal.kind === 'removed') {
    throw new SlipwayError('container.not-found', `There is no container ${name} any more that the image could go to.`)
  }
  const [built, runs] = [builder?.observedFacts?.architecture, found.host.observedFacts?.architecture]
  if (built === runs) return found
  throw new SlipwayError('image.wrong-architecture', `The image is for ${built}, and the host of ${name} is ${runs}.`)
}

/** What could not be created is no update either: the old one would be stopped for it, and lose its files. */
function requireCommand(spec: ContainerSpec, image: string, built: ManifestRow | undefined): void {
  if (!built?.config) throw new SlipwayError('image.not-found', 'The image that was built is gone, or is none.')
  if (commandOf(spec, imageConfigSchema.parse(JSON.parse(built.config)).config).length > 0) return
  const message = `Image ${image} names no command: give its Dockerfile a CMD, or the container a "command".`
  throw new SlipwayError('container.command-missing', message)
}

function imageOf({ spec, imageDigest }: KnownBuild): Pick<BuiltUpdate, 'image' | 'imageDigest'> {
  const [image] = spec.tags
  if (image !== undefined && imageDigest !== null) return { image, imageDigest }
  throw new SlipwayError('image.not-found', 'The build published no image.')
}
