import type { Digest } from '#shared/digest.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import type { LayerSize, ResolvedImage } from '#shared/protocol/agent.ts'

/**
 * Images of this host: manifests and configurations in small files, layers in the snapshotter.
 */
export interface ImageStore {
  /**
   * The image if this host has all of it: configuration and every layer, those below the files that `container` has
   * already among them. Reads local files only.
   */
  find(digest: Digest, container?: string): Promise<ResolvedImage | undefined>
  /** What a reference names just now; fetches no layer. Errors: `image.not-found`, `host.unreachable`. */
  resolve(reference: string): Promise<ResolvedImage>
  /** Records an image that was resolved, and fetches its layers as `fetchLayers` does. */
  fetch(image: ResolvedImage, onProgress?: (soFar: PullProgress) => void): Promise<void>
  /**
   * Fetches what is missing, each layer verified (digest and diff ID) while it streams into the snapshotter; layers
   * in parallel, two calls for one layer share the work. Broken lines and damaged bytes are fetched
   * again a few times. `onProgress` is told of each piece that came. Errors: `blob.not-found`, `layer.digest-mismatch`,
   * `layer.invalid` (its blob is what its digest says, and yet no layer), `host.disk-full`, `host.unreachable`.
   */
  fetchLayers(layers: LayerStack, onProgress?: (soFar: PullProgress) => void): Promise<void>
  /** `resolve` and `fetch`. */
  pull(reference: string, onProgress?: (soFar: PullProgress) => void): Promise<ResolvedImage>
  /** Records an image whose layers are in the snapshotter already (a build's result). */
  add(image: ResolvedImage): Promise<void>
  /** Every image of this host, whether its layers are there or not. Reads a small file each. */
  list(): Promise<StoredImage[]>
  /** Forgets an image; its layers are swept once nothing names them. One that is not there is no error. */
  remove(digest: Digest): Promise<void>
  /** When the oldest pull that is not over began (Unix milliseconds): its layers have no name yet. */
  pullingSince(): number | undefined
}

/** Layers on top of each other, the lowest first: as they are stored, and as what is in them. */
export interface LayerStack {
  layers: readonly Descriptor[]
  diffIds: readonly Digest[]
}

/** Of the layers that are fetched, as they are stored. */
export interface PullProgress {
  bytes: number
  total: number
}

export interface StoredImage {
  digest: Digest
  layers: Digest[]
  /** Of the layers that were fetched for it. */
  layerSizes: LayerSize[]
  /** When it was last asked for or made (Unix milliseconds), to the minute. */
  usedAt: number
}
