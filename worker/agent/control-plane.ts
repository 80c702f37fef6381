import type { Readable } from 'node:stream'
import type { Digest } from '#shared/digest.ts'
import type { BuildId, ContainerId, ContextId } from '#shared/domain/ids.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import type {
  AgentSecrets,
  AppendBuildLog,
  ClaimedBuild,
  ContainerSecrets,
  DesiredState,
  MissingBlob,
  PublishImage,
  Report,
  ResolvedImage,
} from '#shared/protocol/agent.ts'
import type { FoundSteps, ShareStep } from '#shared/protocol/build-cache.ts'
import type { FoundMount, SaveMount } from '#shared/protocol/cache-mounts.ts'

/**
 * What an agent needs of the API (`shared/protocol/agent.ts`). Every call has a deadline and throws a SlipwayError:
 * the API's own code where it answered, `host.unreachable` where it did not.
 */
export interface ControlPlane {
  /** Undefined: nothing changed since that generation. */
  desired(since: number | undefined): Promise<DesiredState | undefined>
  report(report: Report): Promise<void>
  resolveImage(reference: string): Promise<ResolvedImage>
  publishImage(image: PublishImage): Promise<Digest>
  missingBlobs(blobs: readonly Descriptor[]): Promise<MissingBlob[]>
  /** Brings a file to the store, which has verified it then. What breaks off goes on with what is missing. */
  upload(blob: MissingBlob, path: string, signal: AbortSignal): Promise<void>
  /** The blob's bytes as stored; unverified. */
  download(digest: Digest): Promise<Readable>
  downloadContext(id: ContextId): Promise<Readable>
  /** The next build that fits this host, or this one, its own from then on. Undefined: there is none for it now. */
  claimBuild(id: BuildId | undefined): Promise<ClaimedBuild | undefined>
  /** Gives a build back that this host does not end: it goes to the next that asks. */
  releaseBuild(id: BuildId): Promise<void>
  /** What the secrets hold of a build that this host has, while it is not over. */
  buildSecrets(id: BuildId): Promise<AgentSecrets>
  /** What the secrets hold that a container of this host names. One attempt. */
  containerSecrets(id: ContainerId): Promise<ContainerSecrets['secrets']>
  /** A container of this host that has ended and was kept for its time is to be removed. Errors: `container.kept`. */
  expireContainer(id: ContainerId): Promise<void>
  /** What was saved last of a cache mount, for hosts of this architecture. It counts as used. */
  savedMount(id: string): Promise<FoundMount>
  /** What takes its place; its blob is in the store. */
  saveMount(mount: Omit<SaveMount, 'architecture'>): Promise<void>
  /** The step of this key as any host made it, and steps that were built on it. One attempt: a build goes on without. */
  findSteps(key: string): Promise<FoundSteps['steps']>
  /** Names what a step gave to the fleet. Errors: `blob.not-found` where its layer is to be uploaded first. */
  shareStep(key: string, step: ShareStep): Promise<void>
  appendBuildLog(id: BuildId, chunk: AppendBuildLog): Promise<void>
}
