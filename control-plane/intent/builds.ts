import {
  type BuildSecrets,
  type BuildSource,
  type BuildSpec,
  type BuildTrigger,
  type NamedContext,
  secretsOfBuild,
} from '#shared/domain/build.ts'
import { type BuildId, type ContextId, type HostId, newId } from '#shared/domain/ids.ts'
import { formatImageReference, parseImageReference } from '#shared/domain/reference.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { BuildView, Commit, CreateBuild, Import } from '#shared/protocol/builds.ts'
import { seal } from '#shared/seal.ts'
import { ringChanged, ringEvents, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { refuseUpstreamName } from '../registry/upstream-names.ts'
import { type BuildOnHost, cancelBuild, findBuild, hasBuildOfContext, insertBuild } from '../store/builds.ts'
import type { Statement } from '../store/database.ts'
import { insertEvents } from '../store/events.ts'
import { bumpGeneration } from '../store/hosts.ts'
import { iso } from './container-view.ts'
import { candidates, requireContainer } from './containers.ts'
import { contextKey, requireContext } from './contexts.ts'
import { type Created, type Creation, createOnce } from './idempotency.ts'
import { chooseHost } from './place.ts'
import { openSecrets, requireSecrets } from './secrets.ts'

/** Errors: `context.not-found`, `context.not-uploaded`, `secret.not-found`, and those of `placeBuild`. */
export function createBuild(ports: Ports, asked: CreateBuild, creation: Creation): Promise<Created<BuildId>> {
  const { dockerfile, target, args, noCache, labels, annotations, allow, secrets, ssh } = asked
  const { compression, compressionLevel, forceCompression, provenance, sbom } = asked
  return placeBuild(ports, asked, creation, async (tags, host) => {
    const source = await sourceOf(ports, asked)
    const contexts = await namedContexts(ports, asked.contexts)
    const plain = { source, dockerfile, target, args, noCache, labels, annotations, contexts, allow, tags }
    const exported = { compression, compressionLevel, forceCompression, provenance, sbom }
    return {
      kind: 'dockerfile',
      ...plain,
      ...exported,
      sealed: await sealedSecrets(ports, await host(), { secrets, ssh }),
    }
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

/** Those that are kept by name are opened. Errors: those of `openSecrets`. */
async function valuesOf(ports: Ports, given: CreateBuild['secrets']): Promise<Record<string, string>> {
  const names = Object.values(given).flatMap(value => (typeof value === 'string' ? [] : [value.secret]))
  const kept = names.length > 0 ? await openSecrets(ports, names) : new Map<string, string>()
  const textOf = (value: string | { secret: string }) =>
    typeof value === 'string' ? value : (kept.get(value.secret) ?? '')
  return Object.fromEntries(Object.entries(given).map(([id, value]) => [id, textOf(value)]))
}

/** For the host that builds, and nobody else to read; undefined where there are none. Errors: those of `openSecrets`. */
export async function sealedSecrets(
  ports: Ports,
  host: CandidateHost,
  { secrets, ssh }: Pick<CreateBuild, 'secrets' | 'ssh'>,
): Promise<string | undefined> {
  if (Object.keys(secrets).length + Object.keys(ssh).length === 0) return undefined
  const given: BuildSecrets = { secrets: await valuesOf(ports, secrets), ssh: await valuesOf(ports, ssh) }
  const key = host.sealKey
  if (key !== undefined) return seal(JSON.stringify(given), key)
  const message = `Host ${host.name} has not told a key to seal secrets with yet: wait a moment, or bring its agent up to date.`
  throw new SlipwayError('build.secrets-unreadable', message)
}

async function sourceOf(ports: Ports, { context, git, url }: CreateBuild): Promise<BuildSource> {
  if (git?.secret !== undefined) await requireSecrets(ports, [git.secret])
  if (git) return { kind: 'git', ...git }
  if (url) return { kind: 'url', ...url }
  return { kind: 'context', contextId: await uploadedContext(ports, context ?? '') }
}

/** Makes a tar an image of one layer. Errors as `createBuild`. */
export function createImport(ports: Ports, asked: Import, creation: Creation): Promise<Created<BuildId>> {
  const { changes, message, author, compression, compressionLevel } = asked
  const plain = { changes, message, author, compression, compressionLevel }
  return placeBuild(ports, asked, creation, async tags => {
    return { kind: 'tar', contextId: await uploadedContext(ports, asked.context), ...plain, tags }
  })
}

/** Makes an image of a container, on its own host. Errors: `container.not-found`, and those of `placeBuild`. */
export function createCommit(
  ports: Ports,
  idOrName: string,
  asked: Commit,
  creation: Creation,
): Promise<Created<BuildId>> {
  const { changes, message, author, pause, compression, compressionLevel } = asked
  const plain = { changes, message, author, compression, compressionLevel }
  const host = async () => (await requireContainer(ports, idOrName)).host.id
  return placeBuild(ports, { tags: asked.tags, host }, creation, async tags => {
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

type CandidateHost = Awaited<ReturnType<typeof candidates>>[number]

interface Placing {
  tags: string[]
  /** Where it must be; left out: where there is room. */
  host?: string | undefined | (() => Promise<string>)
  /** What a newer push makes stale, and the push that began it. */
  line?: string
  trigger?: BuildTrigger
}

type SpecOf = (tags: string[], host: () => Promise<CandidateHost>) => Promise<BuildSpec>

/** `insertPlaced`, once for each creation. */
function placeBuild(ports: Ports, placing: Placing, creation: Creation, specOf: SpecOf): Promise<Created<BuildId>> {
  const id = newId<BuildId>(ports.random)
  return createOnce(ports, creation, id, record => insertPlaced(ports, id, placing, specOf, record))
}

/**
 * Records a build as desired state of a host, in one batch behind `before`, and rings the host. Errors: those of `specOf`;
 * `image.reference-invalid`, `host.none-ready`, `upstream.read-only` for a tag that is somebody else's.
 */
export async function insertPlaced(
  ports: Ports,
  id: BuildId,
  { tags, host: where, line, trigger }: Placing,
  specOf: SpecOf,
  before: readonly Statement[],
): Promise<void> {
  const { db, clock } = ports
  for (const tag of tags) refuseUpstreamName(ports, parseImageReference(tag).repository)
  const chosen = async () => {
    const wanted = typeof where === 'function' ? await where() : where
    return chooseHost(await candidates(ports), { host: wanted, architecture: undefined, now: clock.now() })
  }
  let known: Promise<CandidateHost> | undefined
  const hostOnce = () => (known ??= chosen())
  const spec = await specOf(tags.map(wholeTag), hostOnce)
  const host = await hostOnce()
  const hostId = host.id as HostId
  const createdAt = clock.now()
  const data = { tags: spec.tags, ...(trigger ?? {}) }
  await db.batch([
    bumpGeneration(db, hostId),
    ...before,
    insertBuild(db, { id, hostId, spec, createdAt, line, trigger }),
    insertEvents(db, [{ at: createdAt, type: 'build.create', subjectId: id, data }]),
  ])
  await Promise.all([ringHost(ports, hostId), ringEvents(ports)])
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
  await Promise.all([ringHost(ports, build.hostId), ringChanged(ports, 'build', [build.id])])
}

export function viewBuild({ build, host }: BuildOnHost): BuildView {
  const { spec } = build
  return {
    id: build.id,
    state: build.state,
    host: { id: host.id, name: host.name },
    kind: spec.kind,
    ...viewSource(spec),
    commit: build.observedCommit ?? undefined,
    dockerfile: spec.kind === 'dockerfile' ? spec.dockerfile : undefined,
    target: spec.kind === 'dockerfile' ? spec.target : undefined,
    container: spec.kind === 'container' ? spec.container.id : undefined,
    tags: spec.tags,
    trigger: build.trigger ?? undefined,
    imageDigest: build.imageDigest ?? undefined,
    warnings: build.observedWarnings ?? undefined,
    attestations: build.observedAttestations ?? undefined,
    error: build.observedError ?? undefined,
    createdAt: iso(build.createdAt),
    startedAt: build.observedStartedAt ? iso(build.observedStartedAt) : undefined,
    finishedAt: build.observedFinishedAt ? iso(build.observedFinishedAt) : undefined,
  }
}

function viewSource(spec: BuildSpec): Pick<BuildView, 'context' | 'git' | 'url'> {
  if (spec.kind === 'container') return {}
  if (spec.kind === 'tar') return { context: spec.contextId }
  const { kind, ...source } = spec.source
  if ('contextId' in source) return { context: source.contextId }
  return { [kind]: source }
}

/** A context is for the hosts that build it, and for nobody else. */
export function isBuildingContext(ports: Ports, hostId: HostId, contextId: string): Promise<boolean> {
  return hasBuildOfContext(ports.db, hostId, contextId)
}

/** What a host may know of secrets: those that a build of its own names, while that is not over. Errors: `build.not-found`, `build.finished`, `secret.…`. */
export async function secretsForBuild(ports: Ports, hostId: HostId, id: string): Promise<Record<string, string>> {
  const { build } = await requireBuild(ports, id)
  if (build.hostId !== hostId) throw new SlipwayError('build.not-found', `This host has no build ${id}.`)
  if (isFinished(build.state))
    throw new SlipwayError('build.finished', `Build ${id} has ${build.state}: it needs no secret.`)
  return Object.fromEntries(await openSecrets(ports, secretsOfBuild(build.spec)))
}
