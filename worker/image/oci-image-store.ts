import { mkdir, readdir, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import PQueue from 'p-queue'
import pRetry from 'p-retry'
import { z } from 'zod'
import { type Digest, digestHex } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import { type LayerSize, layerSizeSchema, type ResolvedImage, resolvedImageSchema } from '#shared/protocol/agent.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { readDurableJson, removeDurable, sweepHalfWritten, writeDurableJson } from '../host/durable-file.ts'
import { workUnderWay } from '../host/work-under-way.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import type { ImageStore, LayerStack, PullProgress, StoredImage } from './image-store.ts'
import { type LayerBlob, openLayerBlob } from './layer-blob.ts'

export interface ImageStoreOptions {
  folder: string
  api: Pick<ControlPlane, 'resolveImage' | 'download'>
  snapshots: Pick<Snapshotter, 'hasLayer' | 'addLayer'>
  now(): number
  /** Told of each layer that came. */
  onLayer?: ((size: LayerSize) => void) | undefined
  /** Before the second attempt at a layer; later ones wait twice as long each. */
  retryMs?: number
}

const LAYERS_AT_ONCE = 3
const RETRIES = 4
const RETRY_MS = 1000
const USED_EVERY_MS = 60_000
const IMAGE = /^[0-9a-f]{64}\.json$/

/** Images as small files, `<hex>.json` each; their layers are the snapshotter's. */
export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const { folder, api, snapshots, now, onLayer = () => {}, retryMs = RETRY_MS } = options
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await sweepHalfWritten(folder)
  const downloads = new PQueue({ concurrency: LAYERS_AT_ONCE })
  /** Two images that share a layer wait for one download. */
  const underWay = new Map<Digest, LayerFetch>()
  const known = new Map<Digest, ResolvedImage>()
  const usedAt = new Map<Digest, number>()
  const pulls = workUnderWay(now)
  const pathOf = (digest: Digest) => join(folder, `${digestHex(digest)}.json`)

  const hasLayers = async (image: ResolvedImage, container: string | undefined) => {
    const found = await Promise.all(image.config.rootfs.diff_ids.map(diffId => snapshots.hasLayer(diffId, container)))
    return found.every(Boolean)
  }
  const fetchLayer = (layer: Descriptor, diffId: Digest, watcher: Watcher): Promise<LayerSize | undefined> => {
    const begun = underWay.get(diffId)
    begun?.watchers.push(watcher)
    if (begun) return begun.work
    const watchers = [watcher]
    const attempt = () => addLayer(layer, diffId, watchers)
    const work = downloads
      .add(() => pRetry(attempt, { retries: RETRIES, minTimeout: retryMs, randomize: true, shouldRetry }))
      .finally(() => underWay.delete(diffId))
    underWay.set(diffId, { work, watchers })
    return work
  }
  const addLayer = async (layer: Descriptor, diffId: Digest, watchers: readonly Watcher[]) => {
    if (await snapshots.hasLayer(diffId)) return
    using blob = await openLayerBlob(layer, diffId, api.download)
    try {
      await snapshots.addLayer(diffId, watched(blob, watchers), blob.verify)
      const size = { digest: layer.digest, unpackedBytes: blob.tarBytes() }
      onLayer(size)
      return size
    } catch (error) {
      throw await blob.explain(error)
    }
  }
  /** The file's own time says when an image was last used. */
  const used = async (digest: Digest) => {
    const at = now()
    if (at - (usedAt.get(digest) ?? 0) < USED_EVERY_MS) return
    usedAt.set(digest, at)
    await utimes(pathOf(digest), at / 1000, at / 1000).catch(() => {}) // It is only less exact then.
  }
  const writeImage = (image: ResolvedImage, sizes: LayerSize[]) =>
    writeDurableJson(pathOf(image.digest), { ...image, layerSizes: sizes } satisfies StoredFile)
  /** What is known of an image that may have been here before, and what is new. */
  const layerSizes = async ({ digest }: ResolvedImage, fetched: readonly (LayerSize | undefined)[]) => {
    const before = (await readFile(pathOf(digest)))?.layerSizes ?? []
    const all = [...before, ...fetched.filter(size => size !== undefined)]
    return [...new Map(all.map(size => [size.digest, size])).values()]
  }
  const fetchStack = ({ layers, diffIds }: LayerStack, onProgress: ImageProgress) => {
    const watcherOf = progressOfLayers(onProgress)
    const fetchMissing = async (diffId: Digest, at: number) => {
      const layer = layers[at]
      return layer && !(await snapshots.hasLayer(diffId)) ? fetchLayer(layer, diffId, watcherOf(layer)) : undefined
    }
    return Promise.all(diffIds.map(fetchMissing))
  }
  const fetch = async (image: ResolvedImage, onProgress: ImageProgress) => {
    using _ = pulls.begin()
    const stack = { layers: image.manifest.layers, diffIds: image.config.rootfs.diff_ids }
    await writeImage(image, await layerSizes(image, await fetchStack(stack, onProgress)))
  }
  const store: ImageStore = {
    find: async (digest, container) => {
      const image = known.get(digest) ?? resolvedImageSchema.safeParse(await readFile(pathOf(digest))).data
      if (!image || !(await hasLayers(image, container))) return undefined
      known.set(digest, image)
      await used(digest)
      return image
    },
    resolve: api.resolveImage,
    fetch,
    fetchLayers: async (stack, onProgress) => void (await fetchStack(stack, onProgress)),
    pull: async (reference, onProgress) => {
      using _ = pulls.begin()
      const image = await api.resolveImage(reference)
      await fetch(image, onProgress)
      return image
    },
    add: async image => writeImage(image, await layerSizes(image, [])),
    list: async () => {
      const names = (await readdir(folder)).filter(name => IMAGE.test(name))
      const found = await Promise.all(names.map(name => storedImage(join(folder, name))))
      return found.filter(image => image !== undefined)
    },
    remove: async digest => {
      known.delete(digest)
      usedAt.delete(digest)
      await removeDurable(pathOf(digest))
    },
    pullingSince: pulls.since,
  }
  return store
}

type ImageProgress = ((soFar: PullProgress) => void) | undefined
/** Told how many bytes of a layer have come. */
type Watcher = (bytes: number) => void
interface LayerFetch {
  work: Promise<LayerSize | undefined>
  watchers: Watcher[]
}

async function* watched({ tar, blobBytes }: LayerBlob, watchers: readonly Watcher[]): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of tar) {
    for (const watcher of watchers) watcher(blobBytes())
    yield chunk
  }
}

/** A watcher a layer; all of them together are the progress of their image. */
function progressOfLayers(onProgress: (soFar: PullProgress) => void = () => {}): (layer: Descriptor) => Watcher {
  const soFar = { bytes: 0, total: 0 }
  return ({ size }) => {
    soFar.total += size
    let came = 0
    return bytes => {
      soFar.bytes += bytes - came
      came = bytes
      onProgress({ ...soFar })
    }
  }
}

const fileSchema = resolvedImageSchema.extend({
  /** Of the layers that were fetched for it, for they cannot be told from the layers themselves. */
  layerSizes: z.array(layerSizeSchema).default([]),
})
type StoredFile = z.infer<typeof fileSchema>

async function storedImage(path: string): Promise<StoredImage | undefined> {
  const [image, info] = await Promise.all([readFile(path), stat(path).catch(() => undefined)])
  if (!image || !info) return undefined
  const { digest, config, layerSizes } = image
  return { digest, layers: config.rootfs.diff_ids, layerSizes, usedAt: info.mtimeMs }
}

/** A file that holds no image is as good as none: the image is fetched again, and the file with it. */
function readFile(path: string): Promise<StoredFile | undefined> {
  return readDurableJson(path, fileSchema).catch(() => undefined)
}

function shouldRetry({ error }: { error: Error }): boolean {
  return error instanceof SlipwayError && error.retry
}
