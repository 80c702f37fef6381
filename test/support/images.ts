import type { Ports } from '#control-plane/ports.ts'
import { pushManifest } from '#control-plane/registry/manifests.ts'
import { beginUpload, finishUpload } from '#control-plane/registry/uploads.ts'
import { type Digest, digestOf } from '#shared/digest.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import { parseRepository } from '#shared/domain/repository.ts'

const INDEX = 'application/vnd.oci.image.index.v1+json'

/** A client's way of pushing, against the registry's own functions. */

export function streamOf(text: string): ReadableStream<Uint8Array> {
  return new Blob([text]).stream()
}

export async function pushBlob(ports: Ports, repository: string, text: string): Promise<Digest> {
  const digest = await digestOf(text)
  const name = parseRepository(repository)
  await finishUpload(ports, name, await beginUpload(ports, name), digest, streamOf(text), undefined)
  return digest
}

export interface ImageText {
  config: string
  layers: string[]
  /** The manifest's exact text. */
  manifest: string
  digest: Digest
}

/** An image of these layers; `mark` makes it another one, `padding` its manifest this much longer. */
export async function imageText(layers: string[], mark: string, extra: object = {}): Promise<ImageText> {
  const diffIds = await Promise.all(layers.map(layer => digestOf(layer)))
  const rootfs = { type: 'layers', diff_ids: diffIds }
  const config = JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs, author: mark })
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: await descriptorOf(config, MEDIA_TYPES.config),
    layers: await Promise.all(layers.map(layer => descriptorOf(layer, MEDIA_TYPES.layer))),
    ...extra,
  })
  return { config, layers, manifest, digest: await digestOf(manifest) }
}

export async function descriptorOf(text: string, mediaType: string) {
  return { mediaType, digest: await digestOf(text), size: Buffer.byteLength(text) }
}

export async function pushDocument(ports: Ports, repository: string, reference: string, text: string): Promise<Digest> {
  const bytes = new TextEncoder().encode(text)
  const { digest } = await pushManifest(ports, parseRepository(repository), reference, undefined, bytes)
  return digest
}

export async function pushImageText(ports: Ports, repository: string, reference: string, image: ImageText) {
  for (const blob of [image.config, ...image.layers]) await pushBlob(ports, repository, blob)
  return pushDocument(ports, repository, reference, image.manifest)
}

export async function indexText(images: readonly ImageText[], mark: string): Promise<string> {
  const manifests = await Promise.all(images.map(({ manifest }) => descriptorOf(manifest, MEDIA_TYPES.manifest)))
  return JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests, annotations: { mark } })
}
