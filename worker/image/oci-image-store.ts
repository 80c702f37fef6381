import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import PQueue from 'p-queue'
import pRetry from 'p-retry'
import { type Digest, digestHex } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import { type ResolvedImage, resolvedImageSchema } from '#shared/protocol/agent.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { readDurableJson, writeDurableJson } from '../host/durable-file.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import type { ImageStore } from './image-store.ts'
import { openLayerBlob } from './layer-blob.ts'

export interface ImageStoreOptions {
  folder: string
  api: Pick<ControlPlane, 'resolveImage' | 'download'>
  snapshots: Pick<Snapshotter, 'hasLayer' | 'addLayer'>
  /** Before the second attempt at a layer; later ones wait twice as long each. */
  retryMs?: number
}

const LAYERS_AT_ONCE = 3
const RETRIES = 4
const RETRY_MS = 1000

/** Images as small files, `<hex>.json` each; their layers are the snapshotter's. */
export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const { folder, api, snapshots, retryMs = RETRY_MS } = options
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const downloads = new PQueue({ concurrency: LAYERS_AT_ONCE })
  /** Two images that share a layer wait for one download. */
  const underWay = new Map<Digest, Promise<void>>()
  const known = new Map<Digest, ResolvedImage>()
  const pathOf = (digest: Digest) => join(folder, `${digestHex(digest)}.json`)

  const hasLayers = async (image: ResolvedImage) => {
    const found = await Promise.all(image.config.rootfs.diff_ids.map(diffId => snapshots.hasLayer(diffId)))
    return found.every(Boolean)
  }
  const fetchLayer = (layer: Descriptor, diffId: Digest): Promise<void> => {
    const begun = underWay.get(diffId)
    if (begun) return begun
    const work = downloads
      .add(() =>
        pRetry(() => addLayer(layer, diffId), { retries: RETRIES, minTimeout: retryMs, randomize: true, shouldRetry }),
      )
      .finally(() => underWay.delete(diffId))
    underWay.set(diffId, work)
    return work
  }
  const addLayer = async (layer: Descriptor, diffId: Digest) => {
    if (await snapshots.hasLayer(diffId)) return
    using blob = await openLayerBlob(layer, diffId, api.download)
    try {
      await snapshots.addLayer(diffId, blob.tar, blob.verify)
    } catch (error) {
      throw await blob.explain(error)
    }
  }
  const store: ImageStore = {
    find: async digest => {
      const image = known.get(digest) ?? (await readImage(pathOf(digest)))
      if (!image || !(await hasLayers(image))) return undefined
      known.set(digest, image)
      return image
    },
    pull: async reference => {
      const image = await api.resolveImage(reference)
      const { layers } = image.manifest
      await Promise.all(
        image.config.rootfs.diff_ids.map(async (diffId, at) => {
          const layer = layers[at]
          if (layer && !(await snapshots.hasLayer(diffId))) await fetchLayer(layer, diffId)
        }),
      )
      await store.add(image)
      return image
    },
    add: image => writeDurableJson(pathOf(image.digest), image),
  }
  return store
}

/** A file that holds no image is as good as none: the image is fetched again, and the file with it. */
export async function readImage(path: string): Promise<ResolvedImage | undefined> {
  return readDurableJson(path, resolvedImageSchema).catch(() => undefined)
}

function shouldRetry({ error }: { error: Error }): boolean {
  return error instanceof SlipwayError && error.retry
}
