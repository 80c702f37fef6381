import { type BuildId, type HostId, newId } from '#shared/domain/ids.ts'
import { formatImageReference, parseImageReference } from '#shared/domain/reference.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { BuildView, CreateBuild } from '#shared/protocol/builds.ts'
import { ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { refuseUpstreamName } from '../registry/upstream-names.ts'
import { type BuildOnHost, cancelBuild, findBuild, hasBuildOfContext, insertBuild } from '../store/builds.ts'
import { insertEvents } from '../store/events.ts'
import { bumpGeneration } from '../store/hosts.ts'
import { iso } from './container-view.ts'
import { candidates } from './containers.ts'
import { contextKey, requireContext } from './contexts.ts'
import { type Created, type Creation, createOnce } from './idempotency.ts'
import { chooseHost } from './place.ts'

/**
 * Errors: `context.not-found`, `context.not-uploaded`, `image.reference-invalid`, `host.none-ready`, `upstream.read-only`
 * for a tag that is somebody else's.
 */
export function createBuild(ports: Ports, asked: CreateBuild, creation: Creation): Promise<Created<BuildId>> {
  const id = newId<BuildId>(ports.random)
  return createOnce(ports, creation, id, async record => {
    for (const tag of asked.tags) refuseUpstreamName(ports, parseImageReference(tag).repository)
    const context = await requireContext(ports, asked.context)
    if (!(await ports.blobs.head(contextKey(context.id)))) {
      throw new SlipwayError(
        'context.not-uploaded',
        `Context ${context.id} has no bytes yet: PUT the tar to its upload URL first.`,
      )
    }
    const { db, clock } = ports
    const host = chooseHost(await candidates(ports), { host: asked.host, architecture: undefined, now: clock.now() })
    const hostId = host.id as HostId
    const { dockerfile, target, args, noCache } = asked
    const spec = { contextId: context.id, dockerfile, target, args, noCache, tags: asked.tags.map(wholeTag) }
    const createdAt = clock.now()
    const event = { at: createdAt, type: 'build.create', subjectId: id, data: { tags: spec.tags } }
    await db.batch([
      bumpGeneration(db, hostId),
      insertBuild(db, { id, hostId, spec, createdAt }),
      insertEvents(db, [event]),
      ...record,
    ])
    await Promise.all([ringHost(ports, hostId, 0), ringEvents(ports)])
  })
}

export function wholeTag(text: string): string {
  const reference = parseImageReference(text)
  parseRepository(reference.repository)
  if (reference.digest === undefined) return formatImageReference(reference)
  throw new SlipwayError('image.reference-invalid', `${text} names a digest: a tag is repository:tag alone.`)
}

export async function requireBuild(ports: Ports, id: string): Promise<BuildOnHost> {
  const found = await findBuild(ports.db, id)
  if (found) return found
  throw new SlipwayError('build.not-found', `There is no build ${id}. GET /v1/builds lists them.`)
}

export function isFinished(state: string): boolean {
  return state !== 'queued' && state !== 'running'
}

/** Errors: `build.not-found`, `build.finished`. */
export async function orderCancel(ports: Ports, id: string): Promise<void> {
  const { build } = await requireBuild(ports, id)
  if (isFinished(build.state)) throw new SlipwayError('build.finished', `Build ${id} has ${build.state} already.`)
  if (build.goal === 'canceled') return
  await ports.db.batch([bumpGeneration(ports.db, build.hostId), cancelBuild(ports.db, build)])
  await Promise.all([ringHost(ports, build.hostId, 0), ringChanged(ports, 'build', [build.id])])
}

export function viewBuild({ build, host }: BuildOnHost): BuildView {
  const { spec } = build
  return {
    id: build.id,
    state: build.state,
    host: { id: host.id, name: host.name },
    context: spec.contextId,
    dockerfile: spec.dockerfile,
    target: spec.target,
    tags: spec.tags,
    imageDigest: build.imageDigest ?? undefined,
    error: build.observedError ?? undefined,
    createdAt: iso(build.createdAt),
    startedAt: build.observedStartedAt ? iso(build.observedStartedAt) : undefined,
    finishedAt: build.observedFinishedAt ? iso(build.observedFinishedAt) : undefined,
  }
}

/** A context is for the hosts that build it, and for nobody else. */
export function isBuildingContext(ports: Ports, hostId: HostId, contextId: string): Promise<boolean> {
  return hasBuildOfContext(ports.db, hostId, contextId)
}
