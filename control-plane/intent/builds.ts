import type { BuildSource, BuildSpec, BuildTrigger, NamedContext } from '#shared/domain/build.ts'
import type { BuildNeeds, Placement } from '#shared/domain/build-needs.ts'
import { type BuildId, type ContextId, type HostId, newId } from '#shared/domain/ids.ts'
import { formatImageReference, parseImageReference } from '#shared/domain/reference.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Commit, CreateBuild, Import } from '#shared/protocol/builds.ts'
import { ringBuildQueue, ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { refuseUpstreamName } from '../registry/upstream-names.ts'
import { lastHostOf } from '../store/build-queue.ts'
import { type BuildRow, cancelBuild, hasBuildOfContext, insertBuild } from '../store/builds.ts'
import { retellStatuses } from '../store/commit-statuses.ts'
import type { Statement } from '../store/database.ts'
import { insertEvents } from '../store/events.ts'
import { bumpGeneration } from '../store/hosts.ts'
import { endStrandedBuilds } from './build-claims.ts'
import { limitsFor } from './build-limits.ts'
import { sealSecrets } from './build-secrets.ts'
import { howItEnded, isFinished, requireBuild } from './build-view.ts'
import { requireContainer } from './containers.ts'
import { contextKey, requireContext } from './contexts.ts'
import { requireHost } from './hosts.ts'
import { type Created, type Creation, createOnce } from './idempotency.ts'
import { isReady } from './place.ts'
import { requireSecrets } from './secrets.ts'

/** Errors: `context.not-found`, `context.not-uploaded`, `secret.not-found`, and those of `insertQueued`. */
export function createBuild(ports: Ports, asked: CreateBuild, creation: Creation): Promise<Created<BuildId>> {
  const { dockerfile, target, args, noCache, labels, annotations, allow, check } = asked
  const { compression, compressionLevel, forceCompression, provenance, sbom, update, cacheMounts } = asked
  const hasSecrets = Object.keys(asked.secrets).length + Object.keys(asked.ssh).length > 0
  const queued = async (id: BuildId): Promise<Queued> => {
    return { tags: asked.tags, host: asked.host, needs: asked, sealedSecrets: await sealSecrets(ports, id, asked) }
  }
  return queueBuild(ports, queued, creation, async tags => {
    const source = await sourceOf(ports, asked)
    const contexts = await namedContexts(ports, asked.contexts)
    const files = { source, dockerfile, target, contexts, noCache, cacheMounts }
    const plain = { ...files, args, labels, annotations, allow, update, tags, check }
    const exported = { compression, compressionLevel, forceCompression, provenance, sbom }
    return { kind: 'dockerfile', ...plain, ...exported, hasSecrets }
  })
}

async function namedContexts(ports: Ports, asked: CreateBuild['contexts']): Promise<Record<string, NamedContext>> {
  const named: Record<string, NamedContext> = {}
  for (const [name, value] of Object.entries(asked)) {
    const [, reference] = /^docker-image:\/\/(.+)$/.exec(value) ?? []
    named[name] =
      reference === undefined
        ? { kind: 'files', contextId: await uploadedContext(ports, value) }
        : { kind: 'image', reference }
  }
  return named
}

async function sourceOf(ports: Ports, { context, git, url }: CreateBuild): Promise<BuildSource> {
  if (git?.secret !== undefined) await requireSecrets(ports, [git.secret])
  if (git) return { kind: 'git', ...git }
  if (url) return { kind: 'url', ...url }
  const [contextId, ...over] = await Promise.all([context ?? ''].flat().map(id => uploadedContext(ports, id)))
  if (contextId === undefined) throw new SlipwayError('internal', 'A build without a source was taken.')
  return { kind: 'context', contextId, ...(over.length > 0 ? { over } : {}) }
}

/** Makes a tar an image of one layer. Errors as `createBuild`. */
export function createImport(ports: Ports, asked: Import, creation: Creation): Promise<Created<BuildId>> {
  const { changes, message, author, compression, compressionLevel } = asked
  const plain = { changes, message, author, compression, compressionLevel }
  return queueBuild(ports, asked, creation, async tags => {
    return { kind: 'tar', contextId: await uploadedContext(ports, asked.context), ...plain, tags }
  })
}

/** Makes an image of a container, on its own host. Errors: `container.not-found`, and those of `insertQueued`. */
export function createCommit(
  ports: Ports,
  idOrName: string,
  asked: Commit,
  creation: Creation,
): Promise<Created<BuildId>> {
  const { changes, message, author, pause, compression, compressionLevel } = asked
  const plain = { changes, message, author, compression, compressionLevel }
  const host = async () => (await requireContainer(ports, idOrName)).host.id
  return queueBuild(ports, { tags: asked.tags, host }, creation, async tags => {
    const { container } = await requireContainer(ports, idOrName)
    const { id, spec } = container
    return { kind: 'container', container: { id, spec }, ...plain, pauses: pause, tags }
  })
}

async function uploadedContext(ports: Ports, id: string): Promise<ContextId> {
  const context = await requireContext(ports, id)
  if (await ports.blobs.head(contextKey(context.id))) return context.id
  throw new SlipwayError(
    'context.not-uploaded',
    `Context ${context.id} has no bytes yet: PUT the tar to its upload URL first.`,
  )
}

/** What a build is besides its specification. */
export interface Queued {
  tags: string[]
  /** Id or name of the only host for it; left out: any that fits. */
  host?: string | undefined | (() => Promise<string>)
  needs?: BuildNeeds
  /** As `sealSecrets` gives them. */
  sealedSecrets?: string | null
  /** What a newer push makes stale, and the push that began it. */
  line?: string
  trigger?: BuildTrigger
}

type SpecOf = (tags: string[]) => Promise<BuildSpec>

/** `insertQueued`, once for each creation. */
async function queueBuild(
  ports: Ports,
  queued: Queued | ((id: BuildId) => Promise<Queued>),
  creation: Creation,
  specOf: SpecOf,
): Promise<Created<BuildId>> {
  const id = newId<BuildId>(ports.random)
  return createOnce(ports, creation, id, async record =>
    insertQueued(ports, id, typeof queued === 'function' ? await queued(id) : queued, specOf, record),
  )
}

/**
 * Records a build in one batch behind `before`, and rings: the one host that may have it, or the first that takes it from the
 * queue. Errors: those of `specOf`; `image.reference-invalid`, `host.not-found`, `request.invalid` for limits that nobody gets,
 * `upstream.read-only` for a tag that is somebody else's.
 */
export async function insertQueued(
  ports: Ports,
  id: BuildId,
  { tags, host: where, needs = {}, sealedSecrets = null, line, trigger }: Queued,
  specOf: SpecOf,
  before: readonly Statement[],
): Promise<void> {
  const { db, clock } = ports
  for (const tag of tags) refuseUpstreamName(ports, parseImageReference(tag).repository)
  const limits = limitsFor(needs, ports.config.builds)
  const wanted = typeof where === 'function' ? await where() : where
  const hostId = wanted === undefined ? null : (await requireHost(ports, wanted)).id
  const spec = await specOf(tags.map(wholeTag))
  const placement = placementOf(hostId, needs)
  const lineage = lineageOf(spec)
  const preferredHostId = hostId === null ? await lastHostOf(db, lineage) : undefined
  const createdAt = clock.now()
  const row = { id, hostId, spec, limits, placement, sealedSecrets, lineage, preferredHostId, createdAt, line, trigger }
  const data = { tags: spec.tags, ...(trigger ?? {}) }
  await db.batch([
    insertEvents(db, [{ at: createdAt, type: 'build.create', subjectId: id, data }]),
    ...(hostId === null ? [] : [bumpGeneration(db, hostId)]),
    ...before,
    insertBuild(db, row),
  ])
  await Promise.all([hostId === null ? ringBuildQueue(ports, id) : ringHost(ports, hostId), ringEvents(ports)])
}

function placementOf(host: HostId | null, { constraints, platform }: BuildNeeds): Placement {
  return {
    ...(host === null ? {} : { host }),
    ...(constraints === undefined ? {} : { labels: constraints }),
    ...(platform === undefined ? {} : { architecture: platform.slice('linux/'.length) }),
  }
}

/** What builds with the same steps in common have in common: their repository, else the image that they become. */
function lineageOf(spec: BuildSpec): string {
  if (spec.kind === 'dockerfile' && spec.source.kind === 'git') return `git ${spec.source.url}`
  const [tag] = spec.tags
  return tag === undefined ? 'checks' : `image ${parseImageReference(tag).repository}`
}

export function wholeTag(text: string): string {
  const reference = parseImageReference(text)
  parseRepository(reference.repository)
  if (reference.digest === undefined) return formatImageReference(reference)
  throw new SlipwayError('image.reference-invalid', `${text} names a digest: a tag is repository:tag alone.`)
}

/** Errors: `build.not-found`, `build.finished`. */
export async function orderCancel(ports: Ports, id: string): Promise<void> {
  const { db, clock } = ports
  const { build, host } = await requireBuild(ports, id)
  if (isFinished(build.state)) throw alreadyEnded(build)
  if (build.goal === 'canceled') return
  const now = clock.now()
  const [, [canceled]] = await db.batch([...cancelBuild(db, build.id, now), retellStatuses(db, [build.id], now)])
  if (!canceled) return refuseEnded(ports, id)
  // Who is to be told is known only now: a host may have taken it at this moment.
  if (canceled.hostId !== null) await ringHost(ports, canceled.hostId)
  if (isFinished(canceled.state)) await tellCanceled(ports, build.id)
  if (host && !isReady(host.observedAt, now)) await endStrandedBuilds(ports)
  await ringChanged(ports, 'build', [build.id])
}

/** It ended between the look and the order: by itself, or because somebody else canceled it. */
async function refuseEnded(ports: Ports, id: string): Promise<void> {
  const { build } = await requireBuild(ports, id)
  if (build.goal === 'built') throw alreadyEnded(build)
}

function alreadyEnded({ id, state }: Pick<BuildRow, 'id' | 'state'>): SlipwayError {
  return new SlipwayError(
    'build.finished',
    `Build ${id} ${howItEnded(state)} already: there is nothing left to cancel.`,
  )
}

/** A host tells of what it ended; this is for what none had. */
async function tellCanceled(ports: Ports, id: BuildId): Promise<void> {
  await insertEvents(ports.db, [{ at: ports.clock.now(), type: 'build.canceled', subjectId: id, data: {} }])
  await ringEvents(ports)
}

/** A context is for the hosts that build it, and for nobody else. */
export function isBuildingContext(ports: Ports, hostId: HostId, contextId: string): Promise<boolean> {
  return hasBuildOfContext(ports.db, hostId, contextId)
}
