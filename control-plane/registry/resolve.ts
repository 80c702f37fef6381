import { imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findImage, findTagged, type ImageRow } from '../store/images.ts'

/** The image that a tag or digest names. Errors: `image.reference-invalid`, `image.not-found`. */
export async function findByReference(ports: Ports, reference: string): Promise<ImageRow> {
  const { repository, tag, digest } = parseImageReference(reference)
  const row = digest ? await findImage(ports.db, digest) : await findTagged(ports.db, repository, tag ?? 'latest')
  if (row) return row
  throw new SlipwayError(
    'image.not-found',
    `There is no image ${reference}. Build it first (POST /v1/builds), or see what there is (GET /v1/images).`,
  )
}

export async function resolveImage(ports: Ports, reference: string): Promise<ResolvedImage> {
  return readImage(await findByReference(ports, reference))
}

export function readImage(row: ImageRow): ResolvedImage {
  return {
    digest: row.digest,
    manifest: imageManifestSchema.parse(JSON.parse(row.manifest)),
    config: imageConfigSchema.parse(JSON.parse(row.config)),
  }
}
