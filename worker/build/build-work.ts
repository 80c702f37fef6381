import type PQueue from 'p-queue'
import type { Digest } from '#shared/digest.ts'
import type { BuildSecrets } from '#shared/domain/build.ts'
import type { BuildLimits } from '#shared/domain/build-needs.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { type ContainerId, newId, type Random } from '#shared/domain/ids.ts'
import type { LayerCompression } from '#shared/domain/layer-compression.ts'
import type { HostPorts } from '../execute/ports.ts'
import type { LayerStack } from '../image/image-store.ts'
import type { Snapshot } from '../snapshot/snapshotter.ts'
import type { openBuildEndpoints } from './build-endpoints.ts'
import type { BuildLog, StepLog } from './build-log.ts'
import type { CacheMounts } from './cache-mounts.ts'
import type { FleetSteps } from './fleet-steps.ts'
import { type ArrivingLayers, haveLayers } from './have-layers.ts'
import type { Materials } from './materials.ts'
import type { SourceRoot } from './missing-source.ts'
import type { MountTransfer } from './mount-transfer.ts'
import type { StepCache } from './step-cache.ts'
import type { Together } from './together.ts'
import type { Turns } from './turns.ts'

/** What all of one build shares. */
export interface SharedWork {
  ports: HostPorts
  cache: StepCache
  fleet: FleetSteps
  /** Tells the fleet of a step that the cache has, in the background. */
  share(key: string): void
  cacheMounts: CacheMounts
  /** Cache mounts that this build brings from other hosts, and for them. */
  mountTransfer: MountTransfer
  log: BuildLog
  endpoints: ReturnType<typeof openBuildEndpoints>
  /** By key: steps that any build of this host does just now. */
  steps: Turns
  random: Random
  /** Ids that this agent's builds own: what else is on the host without an owner is removed. */
  owned: Set<string>
  /** Where this build's folder has the layers that no step gave. */
  ownLayers: Map<Digest, string>
  /** Containers that stand still for a build: they are left so. */
  held: Set<string>
  /** Layers of base images that are being pulled. */
  arriving: ArrivingLayers
  /** This build's own folder. */
  folder: string
  /** What is mounted in that folder: disposed of before it is removed. */
  opened: Pick<AsyncDisposableStack, 'use'>
  signal: AbortSignal
  /** Of each RUN. */
  limits: BuildLimits
  /** A layer of so many bytes is kept now: it counts as what the build has written. Errors: `build.disk-exceeded`. */
  keeps(bytes: number): void
  /** What a kept secret holds that the source of the build names. Errors: `secret.…`. */
  secret(name: string): Promise<string>
  /** Told which commit is built. */
  commitIs(commit: string): void
  /** For its provenance. */
  materials: Materials
}

/** How layers are compressed. */
export interface LayerPacking extends LayerCompression {
  /** Cached layers that are compressed otherwise are compressed again. */
  forceCompression: boolean
}

/** For the steps of a Dockerfile. */
export interface BuildWork extends SharedWork {
  /** Begins what nobody waits for yet: its failure ends the build. */
  begin: Together['begin']
  firstFault: Together['firstFault']
  /** Steps that are done at once. */
  slots: PQueue
  /** Fetches and digests of what steps read that are done at once. */
  looks: PQueue
  /** By key: what steps of this build gave. */
  madeHere: Map<string, StepResult>
  isCacheUsed: boolean
  packing: LayerPacking
  /** SOURCE_DATE_EPOCH (seconds since 1970): nothing in the image is younger. */
  epoch: number | undefined
  secrets: BuildSecrets
  /** What RUN may ask for besides, by this host and by whoever asked for the build: `network.host`, `security.insecure`. */
  allowed: ReadonlySet<string>
  /** The context, or the one of this name; undefined where the name is a stage's or an image's. */
  contextOf(from: string | undefined): Promise<SourceRoot | undefined>
  /** The layers of what COPY --from names, built or resolved before. */
  layersOf(from: string): Promise<LayerStack>
}

/** What a step gave when it was done. */
export interface MadeStep {
  result: StepResult
  /** Of its processes the kernel killed some: with more memory it might have given something else. */
  lackedMemory?: boolean
}

/** For one step. */
export interface StepWork extends BuildWork {
  output: StepLog
}

/** Mounted and owned until `undo` runs, over layers that are fetched where they are missing; it is removed then, unless its writable layer became a layer. */
export async function takeSnapshot(
  work: SharedWork & Partial<StepWork>,
  stack: LayerStack,
  undo: AsyncDisposableStack,
): Promise<Snapshot> {
  await haveLayers(work, stack)
  const id = `build-${newId<ContainerId>(work.random)}`
  work.owned.add(id)
  undo.defer(() => void work.owned.delete(id))
  undo.defer(() => work.ports.snapshots.remove(id))
  return work.ports.snapshots.prepare(id, stack.diffIds, { isVolatile: true })
}
