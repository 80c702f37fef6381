import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import PQueue from 'p-queue'
import pRetry from 'p-retry'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import { type ResolvedImage, resolvedImageSchema } from '#shared/protocol/agent.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { Snapshotter } from '../snapshot/snapshotter.ts'
import type { ImageStore } from './image-store.ts'

export interface ImageStoreOptions {
  folder: string
  api: Pick<ControlPlane, 'resolveImage' | 'download'>
  snapshots: Snapshotter
}

const LAYERS_AT_ONCE = 3
const RETRIES = 4

/** Images as small files, `<hex>.json` each; their layers are the snapshotter's. */
export async function openImageStore({ folder, api, snapshots }: ImageStoreOptions): Promise<ImageStore> {
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
      .add(() => pRetry(() => addLayer(layer, diffId), { retries: RETRIES, randomize: true, shouldRetry }))
      .finally(() => underWay.delete(diffId))
    underWay.set(diffId, work)
    return work
  }
  const addLayer = async (layer: Descriptor, diffId: Digest) => {
    if (await snapshots.hasLayer(diffId)) return
    const { tar, verify, abort } = verified(await api.download(layer.digest), layer, diffId)
    try {
      await snapshots.addLayer(diffId, tar, verify)
    } finally {
      abort()
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
    add: async image => {
      const path = pathOf(image.digest)
      await writeFile(`${path}.part`, JSON.stringify(image))
      await rename(`${path}.part`, path)
    },
  }
  return store
}

async function readImage(path: string): Promise<ResolvedImage | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const read = resolvedImageSchema.safeParse(JSON.parse(text))
  return read.success ? read.data : undefined
}

function shouldRetry({ error }: { error: Error }): boolean {
  return error instanceof SlipwayError && error.retry
}

/** A layer's tar out of its blob; `verify` knows, after the last byte, whether both digests are what was promised. */
function verified(blob: Readable, layer: Descriptor, diffId: Digest) {
  const isGzip = /[+.]gzip$/.test(layer.mediaType)
  const digest = hashing()
  const plain = hashing()
  const gone = new AbortController()
  const stages = isGzip
    ? ([blob, digest.pass, createGunzip(), plain.pass] as const)
    : ([blob, digest.pass, plain.pass] as const)
  const done = pipeline([...stages], { signal: gone.signal })
  done.catch(() => {}) // `verify` and the reader of the tar meet it.
  const verify = async () => {
    await done.catch(cause => {
      throw new SlipwayError(
        'layer.digest-mismatch',
        `Layer ${layer.digest} could not be read to its end: it will be fetched again.`,
        { cause },
      )
    })
    if (digest.value() === layer.digest && plain.value() === diffId) return
    throw new SlipwayError(
      'layer.digest-mismatch',
      `Layer ${layer.digest} came with other bytes than its digest says: it will be fetched again.`,
    )
  }
  return { tar: plain.pass, verify, abort: () => gone.abort() }
}

function hashing() {
  const hash = createHash('sha256')
  let value: Digest | undefined
  const pass = new Transform({
    highWaterMark: 256 * 1024,
    transform(chunk, _encoding, next) {
      hash.update(chunk)
      next(null, chunk)
    },
    flush(next) {
      value = digestFromHex(hash.digest('hex'))
      next()
    },
  })
  return { pass, value: () => value }
}
