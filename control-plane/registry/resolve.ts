import { imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findManifest, findTagged, imagesOfIndex, type ManifestRow } from '../store/manifests.ts'
import { keepManifest, manifestBody } from './manifests.ts'

/** A manifest of an image that can be run. */
export type ImageRow = ManifestRow & { config: string; architecture: string; os: string }

/** The manifest or index that a tag or digest names, kept for a while. Errors: `image.reference-invalid`, `image.not-found`. */
export async function findByReference(ports: Ports, reference: string): Promise<ManifestRow> {
  const { repository, tag, digest } = parseImageReference(reference)
  const row = digest ? await findManifest(ports.db, digest) : await findTagged(ports.db, repository, tag ?? 'latest')
  if (row && (await keepManifest(ports, row))) return row
  throw new SlipwayError(
    'image.not-found',
    `There is no image ${reference}. Push or build it first, or see what there is (GET /v1/images).`,
  )
}

/**
 * The image that a reference names; of an index the one for the first of these architectures that it has, any for none.
 * Errors: as above, `image.wrong-architecture`, `image.manifest-invalid` for what is no image.
 */
export async function findImage(ports: Ports, reference: string, architectures: readonly string[]): Promise<ImageRow> {
  const row = await findByReference(ports, reference)
  if (isImage(row)) return row
  const images = (await imagesOfIndex(ports.db, row.digest)).filter(isImage)
  const [first] = images
  if (!first) throw new SlipwayError('image.manifest-invalid', `${reference} is no image that can be run.`)
  if (architectures.length === 0) return first
  for (const wanted of architectures) {
    const found = images.find(({ architecture, os }) => architecture === wanted && os === 'linux')
    if (found) return found
  }
  const have = images.map(({ os, architecture }) => `${os}/${architecture}`).join(', ')
  throw new SlipwayError(
    'image.wrong-architecture',
    `${reference} is for ${have}, and the hosts are ${architectures.join(', ')}: build it for them, or add such a host.`,
  )
}

export async function resolveImage(
  ports: Ports,
  reference: string,
  architectures: readonly string[],
): Promise<ResolvedImage> {
  return readImage(ports, await findImage(ports, reference, architectures))
}

export async function readImage(ports: Ports, row: ImageRow): Promise<ResolvedImage> {
  return {
    digest: row.digest,
    manifest: imageManifestSchema.parse(JSON.parse(new TextDecoder().decode(await manifestBody(ports, row)))),
    config: imageConfigSchema.parse(JSON.parse(row.config)),
  }
}

function isImage(row: ManifestRow): row is ImageRow {
  return row.config !== null && row.architecture !== null && row.os !== null
}
