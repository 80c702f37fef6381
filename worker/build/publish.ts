import PQueue from 'p-queue'
import type { Digest } from '#shared/digest.ts'
import type { DesiredBuild } from '#shared/domain/build.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { HostPorts } from '../execute/ports.ts'
import type { BuildLog } from './build-log.ts'
import { untilAborted } from './deadline.ts'
import { type Draft, imageOf } from './image-draft.ts'
import type { StepCache } from './step-cache.ts'

export interface PublishOptions {
  ports: HostPorts
  api: ControlPlane
  cache: StepCache
  log: BuildLog
  signal: AbortSignal
}

const UPLOADS_AT_ONCE = 3

/**
 * Layers that the store lacks are uploaded, then the image appears under its tags, whole. This host has it from then
 * on without fetching anything. A cancel before the last moment leaves no tag.
 */
export async function publishDraft(draft: Draft, { id, spec }: DesiredBuild, options: PublishOptions): Promise<Digest> {
  const { api, cache, log, ports, signal } = options
  const { texts, ...image } = await imageOf(
    draft,
    ports.architecture,
    spec.kind === 'dockerfile' ? spec.annotations : {},
  )
  const missing = draft.layers.length > 0 ? await api.missingBlobs(draft.layers) : []
  const uploads = new PQueue({ concurrency: UPLOADS_AT_ONCE })
  const pushed = Promise.all(
    missing.map(blob =>
      uploads.add(async () => {
        signal.throwIfAborted()
        const inParts = 'parts' in blob ? ` in ${blob.parts.missing.length} parts` : ''
        log.write('step', `pushing layer ${blob.digest}${inParts}`)
        await api.upload(blob, cache.blobPath(blob.digest), signal)
      }),
    ),
  )
  await untilAborted(pushed, signal)
  await ports.images.add(image)
  signal.throwIfAborted()
  await api.publishImage({ buildId: id, tags: spec.tags, layerSizes: draft.layerSizes, ...texts })
  return image.digest
}
