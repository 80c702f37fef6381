import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import {
  type BuildSecrets,
  type BuildWarning,
  type DesiredBuild,
  NO_SECRETS,
  type ObservedBuild,
} from '#shared/domain/build.ts'
import type { BuildId, Random } from '#shared/domain/ids.ts'
import { SlipwayError, toFault, unreachable } from '#shared/errors.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { HostPorts } from '../execute/ports.ts'
import { unmountBelow } from '../host/mount.ts'
import { removeTree } from '../host/remove-tree.ts'
import { workUnderWay } from '../host/work-under-way.ts'
import type { HostNetwork } from '../network/network-driver.ts'
import { sentenceOf } from './advice.ts'
import { attest } from './attest.ts'
import { openBuildEndpoints } from './build-endpoints.ts'
import { type BuildLog, openBuildLog } from './build-log.ts'
import type { SharedWork } from './build-work.ts'
import { type CacheMounts, openCacheMounts } from './cache-mounts.ts'
import { fromContainer } from './from-container.ts'
import { type DockerfileOptions, fromDockerfile } from './from-dockerfile.ts'
import { fromTar } from './from-tar.ts'
import type { Draft } from './image-draft.ts'
import { openMaterials } from './materials.ts'
import { once } from './once.ts'
import { type Published, type PublishOptions, publishDraft } from './publish.ts'
import { openStepCache, type StepCache } from './step-cache.ts'
import { openTurns } from './turns.ts'

export interface BuilderOptions {
  ports: HostPorts
  api: ControlPlane
  log: Logger
  /** For the cache and, while they run, a folder a build. */
  folder: string
  random: Random
  /** Opens what the API sealed for this host. */
  unseal(sealed: string): Promise<BuildSecrets>
  /** What RUN steps may ask for on this host (`network.host`, `security.insecure`). */
  entitlements: ReadonlySet<string>
  /** Who builds, for provenance: an address that says whom to trust, and the agent's version. */
  identity: { id: string; version: string }
  /** The host's network, as desired state has it. */
  network(): HostNetwork | undefined
}

export interface Builder {
  /** Never throws: how it ended is its result. Leaves nothing but its image and what the cache keeps. */
  build(build: DesiredBuild, signal: AbortSignal): Promise<ObservedBuild>
  /** Whether a build that runs now owns the snapshot, namespace or runtime container of this id. */
  owns(id: string): boolean
  /** Whether a build reads the files of this container, which stands still for that. */
  holds(id: string): boolean
  /** When the oldest build that is not over began (Unix milliseconds): its layers may have no name yet. */
  busySince(): number | undefined
  readonly cache: StepCache
  readonly cacheMounts: CacheMounts
}

/** Builds images on this host, from Dockerfiles layer by layer, from containers or from tars. Call it once: it removes what earlier builds left. */
export async function openBuilder(options: BuilderOptions): Promise<Builder> {
  const { ports, folder, log } = options
  const workFolder = join(folder, 'work')
  await unmountBelow(workFolder)
  await removeTree(workFolder)
  await mkdir(workFolder, { recursive: true, mode: 0o700 })
  const cache = await openStepCache(join(folder, 'cache'), diffId => ports.snapshots.hasLayer(diffId))
  const endpoints = openBuildEndpoints(options.network)
  const cacheMounts = openCacheMounts(join(folder, 'cache-mounts'))
  const owned = new Set<string>()
  const held = new Set<string>()
  const pushes = openTurns()
  const running = workUnderWay(ports.clock.now)

  const buildIn = async (
    wanted: DesiredBuild,
    buildLog: BuildLog,
    told: Told,
    signal: AbortSignal,
  ): Promise<Published> => {
    const own = join(workFolder, wanted.id)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => removeTree(own))
    await mkdir(own, { recursive: true, mode: 0o700 })
    const { random, api, identity } = options
    const { id, spec } = wanted
    const materials = openMaterials(spec.kind === 'dockerfile' && spec.provenance !== false)
    const commitIs = (commit: string) => {
      told.commit = commit
    }
    const ofBuild = { log: buildLog, secret: secretsOf(id, api), commitIs, materials }
    const shared = { ports, cache, cacheMounts, endpoints, owned, held, signal, random, folder: own, ...ofBuild }
    const draft = await draftOf(wanted, shared, { ...options, warn: warner(buildLog, told.warnings) })
    buildLog.write('step', 'exporting the image')
    const facts = { buildId: id, builder: identity, commit: told.commit, startedAt: told.startedAt }
    const attested: PublishOptions['attest'] =
      spec.kind === 'dockerfile' ? image => attest(image, { spec, draft, work: shared, api, pushes, facts }) : undefined
    return publishDraft(draft, wanted, { ...options, cache, log: buildLog, pushes, attest: attested, signal })
  }

  return {
    owns: id => owned.has(id),
    holds: id => held.has(id),
    busySince: running.since,
    cache,
    cacheMounts,
    build: async (wanted, signal) => {
      const startedAt = ports.clock.now()
      const buildLog = openBuildLog(wanted.id, options.api, ports.clock)
      const told: Told = { warnings: [], commit: undefined, startedAt }
      using _ = running.begin()
      const ended = () => ({ startedAt, finishedAt: ports.clock.now(), commit: told.commit })
      const { warnings } = told
      try {
        ports.requireRoom()
        const { imageDigest, attestations } = await buildIn(wanted, buildLog, told, signal)
        buildLog.write('step', `built ${imageDigest} as ${wanted.spec.tags.join(', ')}`)
        return { state: 'succeeded', ...ended(), imageDigest, warnings, attestations }
      } catch (error) {
        if (signal.aborted) return { state: 'canceled', ...ended() }
        log.warn({ build: wanted.id, err: error }, 'a build failed')
        const fault = toFault(error)
        buildLog.write('stderr', fault.message)
        return { state: 'failed', ...ended(), error: fault, warnings }
      } finally {
        await buildLog.close()
      }
    },
  }
}

/** What is known of a build while it runs. */
interface Told {
  warnings: BuildWarning[]
  commit: string | undefined
  startedAt: number
}

async function opened(sealed: string, { unseal }: BuilderOptions): Promise<BuildSecrets> {
  try {
    return await unseal(sealed)
  } catch (cause) {
    const message = 'This host cannot open the secrets of the build, since its key is another one by now: build again.'
    throw new SlipwayError('build.secrets-unreadable', message, { cause })
  }
}

/** Says warnings at once, and keeps them for the build's answer. */
function warner(log: BuildLog, kept: BuildWarning[]): DockerfileOptions['warn'] {
  return found => {
    for (const warning of found) log.write('stderr', sentenceOf(warning))
    kept.push(...found)
  }
}

async function draftOf(
  { spec }: DesiredBuild,
  shared: SharedWork,
  options: BuilderOptions & Pick<DockerfileOptions, 'warn'>,
): Promise<Draft> {
  const { api } = options
  switch (spec.kind) {
    case 'dockerfile': {
      const secrets = spec.sealed === undefined ? NO_SECRETS : await opened(spec.sealed, options)
      return fromDockerfile(spec, { ...shared, secrets }, options)
    }
    case 'container':
      return fromContainer(spec, shared)
    case 'tar':
      return fromTar(spec, shared, api)
    default:
      return unreachable(spec)
  }
}

/** Secrets by name, asked for once they are needed, and kept no longer than the build. */
function secretsOf(id: BuildId, api: Pick<ControlPlane, 'buildSecrets'>): SharedWork['secret'] {
  const asked = once((build: BuildId) => api.buildSecrets(build))
  return async name => {
    const value = (await asked(id))[name]
    if (value !== undefined) return value
    throw new SlipwayError('secret.not-found', `The build names no secret ${name}, or there is none.`)
  }
}
