import PQueue from 'p-queue'
import type { Logger } from 'pino'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { KeptStep, StepCache } from './step-cache.ts'
import type { Turns } from './turns.ts'

export interface StepSharing {
  api: Pick<ControlPlane, 'shareStep' | 'missingBlobs' | 'upload'>
  cache: StepCache
  /** By digest, of all builds of this host. */
  pushes: Turns
  log: Pick<Logger, 'debug' | 'warn'>
  now(): number
  signal: AbortSignal
}

const AT_ONCE = 2
/** More than so many wait for nothing: they are shared when they are used again. */
const WAITING = 2000
/** The fleet forgets what nobody used for days: whoever uses it says so. */
const AGAIN_MS = 24 * 60 * 60 * 1000

/**
 * Tells the fleet what this host's steps gave, in the background: first the blob goes up, then the step is named. It is about the
 * steps, which are whole, and not about a build: neither its end nor its cancel stops it. What a dead agent or an API that is
 * away left is done at the next start, or when the step is used again.
 */
export function openStepSharing({ api, cache, pushes, log, now, signal }: StepSharing) {
  const queue = new PQueue({ concurrency: AT_ONCE })
  const underWay = new Set<string>()

  const upload = (layer: NonNullable<KeptStep['result']['layer']>) =>
    pushes.take(layer.digest, async () => {
      const { digest, size, compression } = layer
      const mediaType = compression === 'zstd' ? MEDIA_TYPES.layerZstd : MEDIA_TYPES.layerGzip
      const [blob] = await api.missingBlobs([{ mediaType, digest, size }])
      if (blob) await api.upload(blob, cache.blobPath(digest), signal)
    })
  const tell = async (key: string): Promise<void> => {
    const kept = await cache.find(key, { isUse: false })
    if (!kept || kept.lackedMemory || now() - (kept.sharedAt ?? 0) < AGAIN_MS) return
    const { result, after, isAnew = false } = kept
    const step = { result, isAnew, ...(after === undefined ? {} : { after }) }
    try {
      await api.shareStep(key, step)
    } catch (error) {
      const lacksBlob = error instanceof SlipwayError && error.code === 'blob.not-found'
      if (!lacksBlob || !result.layer) throw error
      await upload(result.layer)
      await api.shareStep(key, step)
    }
    // Another build may have done the step anew meanwhile: then that is told, too.
    if (!(await cache.wasShared(key, kept, now()))) await tell(key)
  }
  /** Of a step that this host has; nothing for one that it told of lately. Returns at once. */
  const share = (key: string): void => {
    if (signal.aborted || underWay.has(key)) return
    if (queue.size >= WAITING) {
      log.warn({ key }, 'too many steps wait to be shared: this one is left for later')
      return
    }
    underWay.add(key)
    queue
      .add(() => tell(key))
      .catch(error => log.debug({ err: error, key }, 'a step is not shared yet'))
      .finally(() => underWay.delete(key))
  }
  return { share }
}
