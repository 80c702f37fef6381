import type { Digest } from '#shared/digest.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ImageSummary, ImageView } from '#shared/protocol/images.ts'
import type { Ports } from '../ports.ts'
import { deleteTagsOf, forgetImage, type ImagePosition, listImages } from '../store/images.ts'
import { containersOfImage, copyIntoRepository, type ManifestRow } from '../store/manifests.ts'
import { deleteTag, setTag, type TagRow, tagsOf, tagsOfImages } from '../store/tags.ts'
import { type ImageSizes, sizesOfImages } from '../store/usage.ts'
import { findByReference, findImage, readImage } from './resolve.ts'
import { refuseUpstreamName } from './upstream-names.ts'

export async function imagePage(ports: Ports, after: ImagePosition, limit: number, repository: string | undefined) {
  const rows = await listImages(ports.db, after, limit, repository)
  const digests = rows.map(({ digest }) => digest)
  const [tags, sizes] = await Promise.all([tagsOfImages(ports.db, digests), sizesOfImages(ports.db, digests)])
  return rows.map(row => ({ row, view: summary(row, tags, sizes) }))
}

export async function inspectImage(ports: Ports, reference: string): Promise<ImageView> {
  const row = await findImage(ports, reference, [])
  const { manifest, config } = await readImage(ports, row)
  const [tags, sizes] = await Promise.all([tagsOfImages(ports.db, [row.digest]), sizesOfImages(ports.db, [row.digest])])
  return {
    ...summary(row, tags, sizes),
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
  const { manifest, config } = await readImage(ports, await findImage(ports, reference, []))
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

/** Another name, in the same repository or another one, for an image or an index. Errors: `upstream.read-only`. */
export async function tagImage(ports: Ports, reference: string, newTag: string): Promise<void> {
  const found = await findByReference(ports, reference)
  const { digest } = found.row
  const { repository, tag } = parseImageReference(newTag)
  if (!tag) throw new SlipwayError('image.reference-invalid', `${newTag} names no tag: write repository:tag.`)
  refuseUpstreamName(ports, repository)
  const now = ports.clock.now()
  await ports.db.batch([
    ...copyIntoRepository(ports.db, found.repository, parseRepository(repository), digest, now),
    ...setTag(ports.db, { repository, tag, digest, updatedAt: now }),
  ])
}

/**
 * By tag: removes the tag, and the image once no tag and no container needs it. By digest: all its tags too.
 * Errors: `image.in-use` when containers would lose their image.
 */
export async function removeImage(ports: Ports, reference: string): Promise<void> {
  const { row, repository, tag } = await findByReference(ports, reference)
  const tags = await tagsOf(ports.db, [row.digest])
  if (tag === undefined || tags.length <= 1) await refuseIfUsed(ports, row.digest, reference)
  if (tag !== undefined) await deleteTag(ports.db, repository, tag, ports.clock.now())
  else await deleteTagsOf(ports.db, row.digest)
  await forgetImage(ports.db, row.digest)
}

async function refuseIfUsed(ports: Ports, digest: Digest, reference: string): Promise<void> {
  const users = (await containersOfImage(ports.db, digest)).map(({ name }) => name)
  if (users.length === 0) return
  throw new SlipwayError('image.in-use', `Image ${reference} is used by ${users.join(', ')}: remove them first.`, {
    facts: { containers: users },
  })
}

function summary(row: ManifestRow, tags: readonly TagRow[], sizes: readonly ImageSizes[]): ImageSummary {
  const { digest, imageSize, architecture, os, createdAt } = row
  const none = { total: 0, shared: 0, unpacked: null }
  const { total, shared, unpacked } = sizes.find(size => size.digest === digest) ?? none
  const own = tags.filter(tag => tag.digest === digest).map(({ repository, tag }) => `${repository}:${tag}`)
  return {
    digest,
    tags: own,
    size: imageSize,
    sharedSize: shared,
    uniqueSize: total - shared,
    unpackedSize: unpacked,
    architecture: architecture ?? '',
    os: os ?? '',
    createdAt: new Date(createdAt).toISOString(),
  }
}
