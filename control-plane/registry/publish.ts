import { type Digest, digestHex, digestOf } from '#shared/digest.ts'
import { type HostId, newId, type UploadId } from '#shared/domain/ids.ts'
import { type Descriptor, imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { parseRepository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { MissingBlobs, PublishImage } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findBlobs, linkBlobs, touchBlobs, uploadsBecomeBlobs } from '../store/blobs.ts'
import { type BuildRow, findBuild, setImageOfBuild } from '../store/builds.ts'
import { insertUploads, type UploadRow, uploadsOf } from '../store/uploads.ts'
import { newObjectKey, SIGNED_URL_MS, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { takeLayerSizes } from './layer-sizes.ts'
import { pushManifest } from './manifests.ts'
import { digestOfObject } from './object-digest.ts'

const HEADS_AT_ONCE = 8

/** Which of these blobs the store lacks, each with a URL that takes exactly its bytes. Those that it has stay for a while. */
export async function missingBlobs(ports: Ports, wanted: readonly Descriptor[]): Promise<MissingBlobs> {
  const missing = await lacking(ports, wanted)
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  const rows = missing.map(({ digest, size }) => ({
    ...{ id: newId<UploadId>(ports.random), repository: null, objectKey: newObjectKey(ports.random) },
    ...{ digest, size, expiresAt },
  }))
  await insertUploads(ports.db, rows)
  const signed = rows.map(async ({ digest, objectKey, size }) => ({
    digest,
    upload: await ports.blobs.signUpload(objectKey, { expiresMs: SIGNED_URL_MS, size, sha256: digestHex(digest) }),
  }))
  return { missing: await Promise.all(signed) }
}

async function lacking(ports: Ports, wanted: readonly Descriptor[]): Promise<Descriptor[]> {
  const now = ports.clock.now()
  const digests = wanted.map(({ digest }) => digest)
  await touchBlobs(ports.db, digests, now, now)
  const here = new Set((await findBlobs(ports.db, digests)).map(({ digest }) => digest))
  const byDigest = new Map(wanted.map(blob => [blob.digest, blob]))
  return [...byDigest.values()].filter(({ digest }) => !here.has(digest))
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
  await takeUploads(ports, manifest.layers)
  await takeLayerSizes(ports, image.layerSizes)
  await storeConfig(ports, manifest.config, image.config)

  const now = ports.clock.now()
  const digest = await digestOf(image.manifest)
  const bytes = new TextEncoder().encode(image.manifest)
  for (const { repository, tag } of build.spec.tags.map(parseImageReference)) {
    const name = parseRepository(repository)
    const digests = [manifest.config, ...manifest.layers].map(blob => blob.digest)
    await linkBlobs(ports.db, name, digests, now)
    await pushManifest(ports, name, tag ?? 'latest', manifest.mediaType, bytes)
  }
  await setImageOfBuild(ports.db, build.id, digest)
  return digest
}

/** Layers that came by signed URLs become blobs; the store has checked their digest where it can, their size always. */
async function takeUploads(ports: Ports, layers: readonly Descriptor[]): Promise<void> {
  const missing = await lacking(ports, layers)
  const candidates = await uploadsOf(
    ports.db,
    missing.map(({ digest }) => digest),
  )
  for (let at = 0; at < missing.length; at += HEADS_AT_ONCE) {
    const some = missing.slice(at, at + HEADS_AT_ONCE)
    const whole = await Promise.all(some.map(layer => findWhole(ports, layer, candidates)))
    await ports.db.batch(uploadsBecomeBlobs(ports.db, whole, ports.clock.now()))
  }
  const [lost] = await lacking(ports, layers)
  if (lost) throw new SlipwayError('blob.not-found', `Layer ${lost.digest} is not in the store: upload it again.`)
}

async function findWhole(ports: Ports, { digest, size }: Descriptor, candidates: readonly UploadRow[]) {
  for (const { id, objectKey } of candidates.filter(row => row.digest === digest)) {
    if (await isRight(ports, objectKey, digest, size)) return { id, digest, size }
  }
  throw new SlipwayError('blob.not-found', `Layer ${digest} is not in the store: upload it first.`)
}

/** A folder checks what comes by a signed URL; of other stores only those that name the digest do, else it is read. */
async function isRight({ blobs }: Ports, objectKey: string, digest: Digest, size: number): Promise<boolean> {
  const info = await blobs.head(objectKey)
  if (info?.size !== size) return false
  if (!blobs.isDirect) return true
  if (info.sha256 !== undefined) return info.sha256 === digestHex(digest)
  return (await digestOfObject(blobs, objectKey)) === digest
}

async function storeConfig(ports: Ports, { digest, size }: Descriptor, text: string): Promise<void> {
  if ((await lacking(ports, [{ mediaType: 'config', digest, size }])).length === 0) return
  const id = newId<UploadId>(ports.random)
  const objectKey = newObjectKey(ports.random)
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  await insertUploads(ports.db, [{ id, repository: null, objectKey, digest, size, expiresAt }])
  await ports.blobs.put(objectKey, new TextEncoder().encode(text))
  await ports.db.batch(uploadsBecomeBlobs(ports.db, [{ id, digest, size }], ports.clock.now()))
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
