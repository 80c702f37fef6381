import { type Digest, digestOf } from '#shared/digest.ts'
import { EMPTY_CONFIG } from '#shared/domain/attestation.ts'
import { type HostId, newId, type UploadId } from '#shared/domain/ids.ts'
import { type Descriptor, imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { PublishImage } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { linkBlobs, uploadsBecomeBlobs } from '../store/blobs.ts'
import { type BuildRow, findBuild, setImageOfBuild } from '../store/builds.ts'
import { insertUploads } from '../store/uploads.ts'
import { newObjectKey, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { lackingBlobs } from './host-uploads.ts'
import { takeLayerSizes } from './layer-sizes.ts'
import { readManifest } from './manifest-document.ts'
import { pushManifest } from './manifests.ts'

/**
 * Records what a build made, once all its blobs are in the store. Idempotent; a repeat that comes after the build's success moves no
 * tag, since a newer build may have them. Errors: `build.not-found`, `build.finished`, `build.canceled`,
 * `image.manifest-invalid`, `blob.not-found`.
 */
export async function publishImage(ports: Ports, hostId: HostId, image: PublishImage): Promise<Digest> {
  const build = await requireOwnBuild(ports, hostId, image.buildId)
  const digest = await digestOf(image.manifest)
  if (build.state === 'succeeded') {
    if (build.imageDigest === digest) return digest
    throw new SlipwayError(
      'build.finished',
      `Build ${build.id} has made ${build.imageDigest ?? 'an image'} already, and not this one.`,
    )
  }
  const { manifest, config } = readDocuments(image)
  const configDigest = await digestOf(image.config)
  if (configDigest !== manifest.config.digest) {
    throw invalid(`its configuration has digest ${configDigest}, the manifest says ${manifest.config.digest}`)
  }
  if (config.rootfs.diff_ids.length !== manifest.layers.length) throw invalid('it has not one diff ID for each layer')
  const [lost] = await lackingBlobs(ports, manifest.layers)
  if (lost) throw new SlipwayError('blob.not-found', `Layer ${lost.digest} is not in the store: upload it first.`)
  await takeLayerSizes(ports, image.layerSizes)
  await storeConfig(ports, manifest.config, image.config)

  const now = ports.clock.now()
  const bytes = new TextEncoder().encode(image.manifest)
  const attestations = await attestationsOf(image, digest)
  if (attestations.length > 0) await storeConfig(ports, await emptyConfig(), EMPTY_CONFIG.text)
  for (const { repository, tag } of build.spec.tags.map(parseImageReference)) {
    const name = parseRepository(repository)
    const digests = [manifest.config, ...manifest.layers].map(blob => blob.digest)
    await linkBlobs(ports.db, name, digests, now)
    // Before the tag, so that whoever sees that finds them.
    for (const one of attestations) {
      await linkBlobs(ports.db, name, one.blobs, now)
      await pushManifest(ports, name, one.digest, one.mediaType, one.bytes)
    }
    await pushManifest(ports, name, tag ?? 'latest', manifest.mediaType, bytes)
  }
  await setImageOfBuild(ports.db, build.id, digest)
  return digest
}

interface AttestationManifest {
  digest: Digest
  mediaType: string
  bytes: Uint8Array<ArrayBuffer>
  blobs: Digest[]
}

/** Errors: `image.manifest-invalid` for what refers to another image. */
async function attestationsOf(image: PublishImage, subject: Digest): Promise<AttestationManifest[]> {
  const manifests = image.attestations.map(text => new TextEncoder().encode(text))
  return Promise.all(
    manifests.map(async bytes => {
      const facts = readManifest(bytes, undefined)
      if (facts.subject !== subject)
        throw invalid(`an attestation is of ${facts.subject ?? 'nothing'}, not of ${subject}`)
      const { mediaType } = facts
      return { digest: await digestOf(bytes), mediaType, bytes, blobs: facts.blobs.map(blob => blob.digest) }
    }),
  )
}

async function emptyConfig(): Promise<Descriptor> {
  const { mediaType, text } = EMPTY_CONFIG
  return { mediaType, digest: await digestOf(text), size: text.length }
}

async function storeConfig(ports: Ports, { digest, size }: Descriptor, text: string): Promise<void> {
  if ((await lackingBlobs(ports, [{ mediaType: 'config', digest, size }])).length === 0) return
  const id = newId<UploadId>(ports.random)
  const objectKey = newObjectKey(ports.random)
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  await insertUploads(ports.db, [{ id, repository: null, objectKey, digest, size, expiresAt }])
  await ports.blobs.put(objectKey, new TextEncoder().encode(text))
  await ports.db.batch(uploadsBecomeBlobs(ports.db, [{ id, objectKey, digest, size }], ports.clock.now()))
}

/** A host may only touch builds that were given to it. */
export async function requireOwnBuild(ports: Ports, hostId: HostId, id: string): Promise<BuildRow> {
  const found = await findBuild(ports.db, id)
  if (!found || found.build.hostId !== hostId)
    throw new SlipwayError('build.not-found', `This host has no build ${id}.`)
  if (found.build.goal === 'canceled') throw new SlipwayError('build.canceled', `Build ${id} was canceled.`)
  if (found.build.state === 'failed')
    throw new SlipwayError('build.finished', `Build ${id} has failed: its image comes too late.`)
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
