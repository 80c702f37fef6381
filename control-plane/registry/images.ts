import type { Digest } from '#shared/digest.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ImageSummary, ImageView } from '#shared/protocol/images.ts'
import type { Ports } from '../ports.ts'
import {
  containersOfImage,
  deleteImageIfUnused,
  deleteTag,
  deleteTagsOf,
  type ImagePosition,
  type ImageRow,
  listImages,
  setTag,
  type TagRow,
  tagsOf,
} from '../store/images.ts'
import { findByReference, readImage } from './resolve.ts'

export async function imagePage(ports: Ports, after: ImagePosition, limit: number, repository: string | undefined) {
  const rows = await listImages(ports.db, after, limit, repository)
  const tags = await tagsOf(
    ports.db,
    rows.map(({ digest }) => digest),
  )
  return rows.map(row => ({ row, view: summary(row, tags) }))
}

export async function inspectImage(ports: Ports, reference: string): Promise<ImageView> {
  const row = await findByReference(ports, reference)
  const { manifest, config } = readImage(row)
  return {
    ...summary(row, await tagsOf(ports.db, [row.digest])),
    config: config.config ?? {},
    layers: manifest.layers.map(({ digest, size, mediaType }, at) => ({
      digest,
      size,
      mediaType,
      diffId: config.rootfs.diff_ids[at] ?? '',
    })),
  }
}

/** Newest first, as `docker history` has it. */
export async function imageHistory(ports: Ports, reference: string) {
  const { manifest, config } = readImage(await findByReference(ports, reference))
  let layer = 0
  const items = (config.history ?? []).map(({ created, created_by, comment, empty_layer }) => ({
    createdAt: created,
    createdBy: created_by,
    comment,
    isEmpty: empty_layer ?? false,
    size: empty_layer ? 0 : (manifest.layers[layer++]?.size ?? 0),
  }))
  return { items: items.reverse() }
}

export async function tagImage(ports: Ports, reference: string, newTag: string): Promise<void> {
  const { digest } = await findByReference(ports, reference)
  const { repository, tag } = parseImageReference(newTag)
  if (!tag) throw new SlipwayError('image.reference-invalid', `${newTag} names no tag: write repository:tag.`)
  await setTag(ports.db, { repository, tag, digest, updatedAt: ports.clock.now() })
}

/**
 * By tag: removes the tag, and the image once no tag and no container needs it. By digest: all its tags too.
 * Errors: `image.in-use` when containers would lose their image.
 */
export async function removeImage(ports: Ports, reference: string): Promise<void> {
  const row = await findByReference(ports, reference)
  const { repository, tag, digest } = parseImageReference(reference)
  const tags = await tagsOf(ports.db, [row.digest])
  if (digest !== undefined || tags.length <= 1) await refuseIfUsed(ports, row.digest, reference)
  const untag = digest === undefined ? deleteTag(ports.db, repository, tag ?? 'latest') : deleteTagsOf(ports.db, digest)
  await ports.db.batch([untag, deleteImageIfUnused(ports.db, row.digest)])
}

async function refuseIfUsed(ports: Ports, digest: Digest, reference: string): Promise<void> {
  const users = (await containersOfImage(ports.db, digest)).map(({ name }) => name)
  if (users.length === 0) return
  throw new SlipwayError('image.in-use', `Image ${reference} is used by ${users.join(', ')}: remove them first.`, {
    facts: { containers: users },
  })
}

function summary(row: ImageRow, tags: readonly TagRow[]): ImageSummary {
  const { digest, size, architecture, os, createdAt } = row
  const own = tags.filter(tag => tag.digest === digest).map(({ repository, tag }) => `${repository}:${tag}`)
  return { digest, tags: own, size, architecture, os, createdAt: new Date(createdAt).toISOString() }
}
