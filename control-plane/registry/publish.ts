import { type Digest, digestOf } from '#shared/digest.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { type Descriptor, imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { MissingBlobs, PublishImage } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { type BuildRow, findBuild, setImageOfBuild } from '../store/builds.ts'
import { insertImage, setTag } from '../store/images.ts'
import { blobKey, SIGNED_URL_MS } from './blob-keys.ts'

const HEADS_AT_ONCE = 8

/** Which of these blobs the store lacks, each with a URL that takes exactly its bytes. */
export async function missingBlobs(ports: Ports, blobs: readonly Descriptor[]): Promise<MissingBlobs> {
  const missing: MissingBlobs['missing'] = []
  for (let at = 0; at < blobs.length; at += HEADS_AT_ONCE) {
    const some = blobs.slice(at, at + HEADS_AT_ONCE)
    const found = await Promise.all(
      some.map(async blob => ({ blob, info: await ports.blobs.head(blobKey(blob.digest)) })),
    )
    for (const { blob, info } of found) {
      if (info?.size === blob.size) continue
      const sha256 = blob.digest.slice('sha256:'.length)
      const upload = await ports.blobs.signUpload(blobKey(blob.digest), {
        expiresMs: SIGNED_URL_MS,
        size: blob.size,
        sha256,
      })
      missing.push({ digest: blob.digest, upload })
    }
  }
  return { missing }
}

/**
 * Records what a build made, once all its blobs are in the store. Idempotent. Errors: `build.not-found`,
 * `build.finished`, `build.canceled`, `image.manifest-invalid`, `blob.not-found`.
 */
export async function publishImage(ports: Ports, hostId: HostId, image: PublishImage): Promise<Digest> {
  const build = await requireOwnBuild(ports, hostId, image.buildId)
  const { manifest, config } = readDocuments(image)
  const configDigest = await digestOf(image.config)
  if (configDigest !== manifest.config.digest) {
    throw invalid(`its configuration has digest ${configDigest}, the manifest says ${manifest.config.digest}`)
  }
  if (config.rootfs.diff_ids.length !== manifest.layers.length) throw invalid('it has not one diff ID for each layer')
  const { missing } = await missingBlobs(ports, manifest.layers)
  if (missing[0])
    throw new SlipwayError('blob.not-found', `Layer ${missing[0].digest} is not in the store: upload it first.`)

  const digest = await digestOf(image.manifest)
  const bytes = (text: string) => new TextEncoder().encode(text)
  await ports.blobs.put(blobKey(configDigest), bytes(image.config))
  await ports.blobs.put(blobKey(digest), bytes(image.manifest))
  const now = ports.clock.now()
  const { architecture, os } = config
  const size = manifest.layers.reduce((sum, layer) => sum + layer.size, manifest.config.size)
  const row = { digest, manifest: image.manifest, config: image.config, architecture, os, size, createdAt: now }
  await ports.db.batch([
    insertImage(ports.db, row),
    setImageOfBuild(ports.db, build.id, digest),
    ...build.spec.tags.map(tagged => {
      const { repository, tag } = parseImageReference(tagged)
      return setTag(ports.db, { repository, tag: tag ?? 'latest', digest, updatedAt: now })
    }),
  ])
  return digest
}

/** A host may only touch builds that were given to it. */
export async function requireOwnBuild(ports: Ports, hostId: HostId, id: string): Promise<BuildRow> {
  const found = await findBuild(ports.db, id)
  if (!found || found.build.hostId !== hostId)
    throw new SlipwayError('build.not-found', `This host has no build ${id}.`)
  if (found.build.goal === 'canceled') throw new SlipwayError('build.canceled', `Build ${id} was canceled.`)
  if (found.build.state === 'failed') throw new SlipwayError('build.finished', `Build ${id} has ended.`)
  return found.build
}

function readDocuments(image: PublishImage) {
  try {
    return {
      manifest: imageManifestSchema.parse(JSON.parse(image.manifest)),
      config: imageConfigSchema.parse(JSON.parse(image.config)),
    }
  } catch (cause) {
    throw invalid('its manifest or configuration is not what OCI says', cause)
  }
}

function invalid(why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('image.manifest-invalid', `The image cannot be taken: ${why}.`, { cause })
}
