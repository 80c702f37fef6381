import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Digest } from '#shared/digest.ts'
import {
  type BuildSecrets,
  type BuildSpecOf,
  type BuildWarning,
  type DesiredBuild,
  NO_SECRETS,
  type ObservedBuild,
} from '#shared/domain/build.ts'
import type { BuildId, Random } from '#shared/domain/ids.ts'
import { SlipwayError, toFault, unreachable } from '#shared/errors.ts'
import type { AgentSecrets, ClaimedBuild } from '#shared/protocol/agent.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { HostPorts } from '../execute/ports.ts'
import { diskUsage } from '../host/disk-usage.ts'
import { unmountBelow } from '../host/mount.ts'
import { emptyFolder, removeTree } from '../host/remove-tree.ts'
import { workUnderWay } from '../host/work-under-way.ts'
import type { HostNetwork } from '../network/network-driver.ts'
import { sentenceOf } from './advice.ts'
import { attest } from './attest.ts'
import { openBuildEndpoints } from './build-endpoints.ts'
import { type BuildLog, openBuildLog } from './build-log.ts'
import type { SharedWork } from './build-work.ts'
import { type CacheMounts, openCacheMounts } from './cache-mounts.ts'
import { diskExceeded, withinLimits } from './deadline.ts'
import { type FleetSteps, NO_FLEET, openFleetSteps } from './fleet-steps.ts'
import { fromContainer } from './from-container.ts'
import { type DockerfileOptions, fromDockerfile } from './from-dockerfile.ts'
import { fromTar } from './from-tar.ts'
import type { Draft } from './image-draft.ts'
import { type KeptContexts, openKeptContexts } from './kept-contexts.ts'
import { openLogSender } from './log-sender.ts'
import { openMaterials } from './materials.ts'
import { type MountTransfer, openMountTransfers } from './mount-transfer.ts'
import { once } from './once.ts'
import { type Published, type PublishOptions, publishDraft } from './publish.ts'
import { openStepSharing } from './share-steps.ts'
import { openStepCache, type StepCache } from './step-cache.ts'
import { sweepCache } from './sweep-cache.ts'
import { openTurns } from './turns.ts'

export interface BuilderOptions {
  ports: HostPorts
  api: ControlPlane
  log: Logger
  /** For the cache and, while they run, a folder a build. */
  folder: string
  random: Random
  /** What RUN steps may ask for on this host (`network.host`, `security.insecure`). */
  entitlements: ReadonlySet<string>
  /** Who builds, for provenance: an address that says whom to trust, and the agent's version. */
  identity: { id: string; version: string }
  /** Steps of one build that are done side by side. */
  stepsAtOnce: number
  /** When the agent stops. */
  signal: AbortSignal
  /** The host's network, as desired state has it. */
  network(): HostNetwork | undefined
}

export interface Builder {
  /** Never throws: how it ended is its result. Leaves nothing but its image and what the cache keeps. */
  build(claimed: ClaimedBuild, signal: AbortSignal): Promise<ObservedBuild>
  /** Whether a build that runs now owns the snapshot, namespace or runtime container of this id. */
  owns(id: string): boolean
  /** Whether a build reads the files of this container, which stands still for that. */
  holds(id: string): boolean
  /** When the oldest build that is not over began (Unix milliseconds): its layers may have no name yet. */
  busySince(): number | undefined
  readonly cache: StepCache
  readonly cacheMounts: CacheMounts
  readonly contexts: KeptContexts
}

/** Builds images on this host, from Dockerfiles layer by layer, from containers or from tars. Call it once: it removes what earlier builds left. */
export async function openBuilder(options: BuilderOptions): Promise<Builder> {
  const { ports, folder, log } = options
  const workFolder = join(folder, 'work')
  await unmountBelow(workFolder)
  await emptyFolder(workFolder)
  // Nothing runs yet: what no step names is of builds that a dead agent left. They make it again, to the same bytes.
  await sweepCache(join(folder, 'cache'), Number.POSITIVE_INFINITY).catch((error: unknown) =>
    log.warn({ err: error }, 'layers that no step names could not be removed; they go later'),
  )
  const cache = await openStepCache(join(folder, 'cache'), diffId => ports.snapshots.hasLayer(diffId))
  const endpoints = openBuildEndpoints(options.network)
  const cacheMounts = await openCacheMounts(join(folder, 'cache-mounts'))
  const transferOf = await openMountTransfers({
    ...{ api: options.api, cacheMounts, clock: ports.clock, requireRoom: ports.requireRoom },
    folder: join(folder, 'mount-transfers'),
  })
  const contexts = await openKeptContexts(join(folder, 'contexts'), ports.clock.now)
  const ownedBy = new Map<BuildId, Set<string>>()
  const held = new Set<string>()
  const pushes = openTurns()
  const stored = new Set<Digest>()
  const steps = openTurns()
  const { share } = openStepSharing({ ...options, cache, pushes, now: ports.clock.now })
  void shareTheRest(cache, share)
  const running = workUnderWay(ports.clock.now)

  const buildIn = async (
    wanted: DesiredBuild,
    buildLog: BuildLog,
    told: Told,
    fleet: FleetSteps,
    disk: { keeps(bytes: number): void; owned: Set<string> },
    signal: AbortSignal,
  ): Promise<Published | undefined> => {
    const own = join(workFolder, wanted.id)
    await using undo = new AsyncDisposableStack()
    const opened = new AsyncDisposableStack()
    const clear = once(async (folder: string) => {
      await opened.disposeAsync()
      await removeTree(folder)
    })
    undo.defer(() => clear(own))
    await mkdir(own, { recursive: true, mode: 0o700 })
    const { random, api, identity } = options
    const { id, spec } = wanted
    const materials = openMaterials(spec.kind === 'dockerfile' && spec.provenance !== false)
    const ownLayers: SharedWork['ownLayers'] = new Map()
    const layerFile = (digest: Digest) => ownLayers.get(digest) ?? cache.blobPath(digest)
    const secrets = once((build: BuildId) => api.buildSecrets(build))
    const ofBuild = {
      ...{ log: buildLog, mountTransfer: told.mountTransfer },
      secret: keptOf(id, secrets),
      commitIs: (commit: string) => {
        told.commit = commit
      },
      materials,
      arriving: new Map(),
      ownLayers,
      fleet,
      limits: wanted.limits,
    }
    const ofHost = { ports, cache, share, cacheMounts, endpoints, steps, held, random }
    const shared = { ...ofHost, ...ofBuild, ...disk, signal, folder: own, opened }
    const draft = await draftOf(
      wanted,
      { ...shared, secretsOf: () => secrets(id) },
      { ...options, contexts, warn: warner(buildLog, told.warnings) },
    )
    if (isCheck(spec)) return undefined
    const facts = { buildId: id, builder: identity, commit: told.commit, startedAt: told.startedAt }
    if (spec.kind === 'dockerfile' && !hasAttestations(spec)) {
      // Nobody reads it any more: it goes while the API hears of the image. A failure is told when it is waited for.
      clear(own).catch(() => {})
    }
    // Awaited here: attestations, and layers that no step gave, are uploaded out of the build's folder, which goes when this ends.
    return await buildLog.step('exporting the image', signal, log => {
      const attested: PublishOptions['attest'] =
        spec.kind === 'dockerfile'
          ? (image, signal) => attest(image, { spec, draft, work: { ...shared, signal }, log, api, pushes, facts })
          : undefined
      return publishDraft(draft, wanted, { ...options, layerFile, log, pushes, stored, attest: attested, signal })
    })
  }

  /** What a build keeps on the disk: its folder and its contexts, what its snapshots hold, and the layers that it made of them. */
  const openDisk = ({ id, limits: { diskBytes } }: DesiredBuild) => {
    const owned = new Set<string>()
    ownedBy.set(id, owned)
    let kept = 0
    const bytes = async () => {
      const held = [...owned].filter(name => name.startsWith('build-'))
      const sizes = await Promise.all(held.map(async name => (await ports.snapshots.snapshotSize(name)).writtenBytes))
      return sizes.reduce((sum, size) => sum + size, kept + (await diskUsage(join(workFolder, id))))
    }
    const keeps = (more: number) => {
      kept += more
      if (diskBytes !== undefined && kept > diskBytes) throw diskExceeded(kept, diskBytes)
    }
    return { owned, bytes, keeps }
  }

  return {
    owns: id => [...ownedBy.values()].some(owned => owned.has(id)),
    holds: id => held.has(id),
    busySince: running.since,
    cache,
    cacheMounts,
    contexts,
    build: async ({ build: wanted, logFrom, stepFrom }, signal) => {
      const startedAt = ports.clock.now()
      const sender = openLogSender(wanted.id, logFrom, options.api, ports.clock)
      const buildLog = openBuildLog(sender, ports.clock.now, stepFrom)
      const mountTransfer = transferOf(wanted.id, wanted.spec)
      const told: Told = { warnings: [], commit: undefined, startedAt, mountTransfer }
      let saving: Promise<void> | undefined
      using _ = running.begin()
      const ended = () => ({ startedAt, finishedAt: ports.clock.now(), commit: told.commit })
      const { warnings } = told
      try {
        ports.requireRoom()
        const disk = openDisk(wanted)
        const whole = {
          ...wanted.limits,
          measure: disk.bytes,
          requireReserve: ports.requireReserve,
          clock: ports.clock,
        }
        const attempt = (fleet: FleetSteps) => (over: AbortSignal) => buildIn(wanted, buildLog, told, fleet, disk, over)
        const published = await withinLimits(whole, signal, over =>
          attempt(openFleetSteps(options.api, buildLog))(over).catch(error => {
            if (!(error instanceof SlipwayError) || error.code !== 'build.cache-lost') throw error
            buildLog.write('stderr', `${error.message} The build begins anew without it.`)
            warnings.length = 0
            return attempt(NO_FLEET)(over).catch(lost => {
              // It was none of the fleet's cache: an upstream's, say.
              throw lost instanceof SlipwayError && lost.code === 'build.cache-lost' ? (lost.cause ?? lost) : lost
            })
          }),
        )
        const { tags } = wanted.spec
        const said = published ? `built ${published.imageDigest} as ${tags.join(', ')}` : 'checked: there is no advice'
        buildLog.write('step', said)
        saving = mountTransfer.save(buildLog)
        return { state: 'succeeded', ...ended(), ...published, warnings: inOrder(warnings) }
      } catch (error) {
        if (signal.aborted) return { state: 'canceled', ...ended() }
        log.warn({ build: wanted.id, err: error }, 'a build failed')
        const fault = toFault(error)
        buildLog.write('stderr', fault.message)
        return { state: 'failed', ...ended(), error: fault, warnings: inOrder(warnings) }
      } finally {
        ownedBy.delete(wanted.id)
        // What is saved behind the result is told in the log, too.
        if (saving) await sender.flush()
        const closed = Promise.resolve(saving).then(sender.close)
        if (!saving) await closed
      }
    },
  }
}

function hasAttestations({ provenance, sbom }: BuildSpecOf<'dockerfile'>): boolean {
  return provenance !== false || sbom
}

function isCheck(spec: DesiredBuild['spec']): boolean {
  return spec.kind === 'dockerfile' && spec.check === true
}

/** What an earlier agent did not come to tell the fleet. */
async function shareTheRest(cache: StepCache, share: (key: string) => void): Promise<void> {
  const steps = await cache.list().catch(() => []) // They are shared when they are used.
  for (const { key, isShared } of steps) if (!isShared) share(key)
}

/** What is known of a build while it runs. */
interface Told {
  mountTransfer: MountTransfer
  warnings: BuildWarning[]
  commit: string | undefined
  startedAt: number
}

/** Which stage came first is a matter of chance. */
function inOrder(warnings: readonly BuildWarning[]): BuildWarning[] {
  return warnings.toSorted((a, b) => a.line - b.line || a.column - b.column)
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
  shared: SharedWork & { secretsOf(): Promise<BuildSecrets> },
  options: BuilderOptions & Pick<DockerfileOptions, 'warn'> & { contexts: KeptContexts },
): Promise<Draft> {
  const { api, contexts } = options
  switch (spec.kind) {
    case 'dockerfile': {
      const secrets = spec.hasSecrets ? await shared.secretsOf() : NO_SECRETS
      return fromDockerfile(spec, { ...shared, secrets }, { ...options, uploads: { api, kept: contexts } })
    }
    case 'container':
      return shared.log.step(`reading what container ${spec.container.id} changed`, shared.signal, () =>
        fromContainer(spec, shared),
      )
    case 'tar':
      return shared.log.step('reading the tar', shared.signal, () => fromTar(spec, shared, api))
    default:
      return unreachable(spec)
  }
}

/** Kept secrets by name, asked for once they are needed, and kept no longer than the build. */
function keptOf(id: BuildId, secrets: (id: BuildId) => Promise<AgentSecrets>): SharedWork['secret'] {
  return async name => {
    const value = (await secrets(id)).kept[name]
    if (value !== undefined) return value
    throw new SlipwayError(
      'secret.not-found',
      `The build names no secret ${name}, or there is none any more: see GET /v1/secrets.`,
    )
  }
}
