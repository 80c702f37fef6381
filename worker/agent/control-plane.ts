import type { Readable } from 'node:stream'
import type { Digest } from '#shared/digest.ts'
import type { BuildId, ContextId } from '#shared/domain/ids.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import type {
  AppendBuildLog,
  DesiredState,
  MissingBlobs,
  PublishImage,
  Report,
  ResolvedImage,
} from '#shared/protocol/agent.ts'

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
  missingBlobs(blobs: readonly Descriptor[]): Promise<MissingBlobs['missing']>
  /** PUTs a file to a signed URL, with retries. */
  upload(upload: MissingBlobs['missing'][number], path: string): Promise<void>
  /** The blob's bytes as stored; unverified. */
  download(digest: Digest): Promise<Readable>
  downloadContext(id: ContextId): Promise<Readable>
  appendBuildLog(id: BuildId, chunk: AppendBuildLog): Promise<void>
}
