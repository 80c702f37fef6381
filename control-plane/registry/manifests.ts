import { type Digest, digestOf, isDigest, parseDigest } from '#shared/digest.ts'
import { newId, type UploadId } from '#shared/domain/ids.ts'
import { isTag, type Repository } from '#shared/domain/repository.ts'
import { mirroredName } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { findBlobs, findLinkedBlobs } from '../store/blobs.ts'
import {
  findManifestIn,
  findTagged,
  indexNaming,
  insertManifest,
  type ManifestRow,
  missingIn,
  type NewManifest,
  removeFromRepository,
  touchManifest,
} from '../store/manifests.ts'
import { deleteTag, hasRepository, setTag } from '../store/tags.ts'
import { endBodyUpload, insertUploads } from '../store/uploads.ts'
import { insertUpstreamBlobs } from '../store/upstreams.ts'
import { newObjectKey, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { touchEveryMs } from './grace.ts'
import { KNOWN_TYPES, type ManifestFacts, readManifest } from './manifest-document.ts'
import { type RunnableImage, runnableImage } from './runnable-image.ts'
import { sourceOf } from './upstream-names.ts'

/** distribution-spec 1.1, "Pushing Manifests": registries should take 4 MiB at least. */
export const MANIFEST_LIMIT = 4 * 1024 * 1024
/** What is larger is an object: a row of D1 has at most 2 MB. */
export const INLINE_LIMIT = 512 * 1024
const ANNOTATIONS_LIMIT = 64 * 1024

/** A manifest of a repository by tag or digest. Errors: `manifest.not-found`, `repository.not-found`, `digest.invalid`. */
export async function requireManifest(ports: Ports, repository: Repository, reference: string): Promise<ManifestRow> {
  const found = reference.includes(':')
    ? await findManifestIn(ports.db, repository, digestParameter(reference))
    : isTag(reference) && (await findTagged(ports.db, repository, reference))
  if (found && (await keepManifest(ports, found))) return found
  await requireRepository(ports, repository)
  throw new SlipwayError('manifest.not-found', `Repository ${repository} has no manifest ${reference}.`)
}

/** Keeps a manifest that someone is told of from being collected for a while. False when that comes too late. */
export async function keepManifest(ports: Ports, { digest, touchedAt }: ManifestRow): Promise<boolean> {
  const now = ports.clock.now()
  return touchedAt > now - touchEveryMs(ports) || touchManifest(ports.db, digest, now)
}

export async function requireRepository(ports: Ports, repository: Repository): Promise<void> {
  if (await hasRepository(ports.db, repository)) return
  const elsewhere = sourceOf(ports, repository) ? undefined : mirroredName(repository)
  const why = elsewhere ? `: ${elsewhere.registry} is not configured as an upstream` : ''
  throw new SlipwayError('repository.not-found', `There is no repository ${repository}${why}.`)
}

/** The exact bytes that were pushed. */
export async function manifestBody(ports: Ports, row: ManifestRow): Promise<Uint8Array<ArrayBuffer>> {
  if (row.body !== null) return new TextEncoder().encode(row.body)
  const object = await ports.blobs.get(row.objectKey ?? '')
  if (!object) throw new SlipwayError('blob.store-failed', `The store has lost manifest ${row.digest}: push it again.`)
  return new Uint8Array(await new Response(object.body as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
}

export interface Pushed {
  digest: Digest
  subject: Digest | null
}

/**
 * Takes a manifest into a repository, under a tag or its digest, once all it names is there. Errors: `manifest.invalid`,
 * `manifest.blob-unknown`, `blob.digest-mismatch`.
 */
export async function pushManifest(
  ports: Ports,
  repository: Repository,
  reference: string,
  mediaType: string | undefined,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Pushed> {
  const facts = readManifest(bytes, mediaType)
  const digest = await digestOf(bytes)
  if (reference.includes(':') && digestParameter(reference) !== digest) {
    throw new SlipwayError('blob.digest-mismatch', `The manifest has digest ${digest}, not ${reference}.`)
  }
  if (!reference.includes(':') && !isTag(reference)) {
    throw new SlipwayError(
      'manifest.invalid',
      `${JSON.stringify(reference.slice(0, 128))} is no tag: use letters, digits, . _ and -, neither . nor - first, at most 128.`,
    )
  }
  await refuseOtherSizes(ports, repository, facts)
  const tag = isDigest(reference) ? undefined : reference
  await storeManifest(ports, repository, { digest, facts, bytes, tag })
  return { digest, subject: facts.subject ?? null }
}

/** Some clients refuse an image whose descriptors lie, others do not; and sizes that are shown here come from them. */
async function refuseOtherSizes(ports: Ports, repository: Repository, { blobs }: ManifestFacts): Promise<void> {
  const here = await findLinkedBlobs(
    ports.db,
    repository,
    blobs.map(({ digest }) => digest),
  )
  const sizes = new Map(here.map(({ digest, size }) => [digest, size]))
  const wrong = blobs.find(({ digest, size }) => size !== (sizes.get(digest) ?? size))
  if (!wrong) return
  const message = `The manifest says that ${wrong.digest} has ${wrong.size} bytes; it has ${sizes.get(wrong.digest)}.`
  throw new SlipwayError('manifest.invalid', message)
}

export interface ReadyManifest {
  digest: Digest
  facts: ManifestFacts
  bytes: Uint8Array<ArrayBuffer>
  tag: string | undefined
  /** Of an upstream: what it names may be absent, and this is where it comes from. */
  isPulled?: boolean
}

/** The part of `pushManifest` that writes. Errors: `manifest.blob-unknown`. */
export async function storeManifest(ports: Ports, repository: Repository, ready: ReadyManifest): Promise<void> {
  const { db } = ports
  const { digest, tag, facts, isPulled = false } = ready
  const made = await newManifest(ports, ready, await runnableImageOf(ports, facts))
  const now = ports.clock.now()
  const [, , , taken] = await db.batch([
    ...insertManifest(db, repository, made, now),
    ...(isPulled ? [insertUpstreamBlobs(db, repository, facts.blobs)] : []),
    ...(tag === undefined ? [] : setTag(db, { repository, tag, digest, updatedAt: now })),
    ...(made.upload ? endBodyUpload(db, made.upload, digest, now) : []),
  ])
  if (taken.length > 0) return
  const [missing] = await missingIn(db, repository, made)
  throw new SlipwayError(
    'manifest.blob-unknown',
    `The manifest names ${missing ?? 'something'}, which repository ${repository} does not have: push it first.`,
    { facts: { digest: missing } },
  )
}

/** The image's configuration, where the manifest is of an image that can be run and its blob is here. */
async function runnableImageOf(ports: Ports, facts: ManifestFacts): Promise<RunnableImage | undefined> {
  if (!facts.imageConfig || facts.imageConfig.size > INLINE_LIMIT) return undefined
  const [blob] = await findBlobs(ports.db, [facts.imageConfig.digest])
  const object = blob && (await ports.blobs.get(blob.objectKey))
  return object && runnableImage(await new Response(object.body as ReadableStream<Uint8Array<ArrayBuffer>>).text())
}

async function newManifest(
  ports: Ports,
  { digest, facts, bytes, isPulled = false }: ReadyManifest,
  image: RunnableImage | undefined,
): Promise<NewManifest> {
  const now = ports.clock.now()
  const isSmall = bytes.length <= INLINE_LIMIT
  const upload = isSmall ? undefined : await putBody(ports, bytes)
  return {
    row: {
      ...{ digest, mediaType: facts.mediaType, size: bytes.length, objectKey: upload?.objectKey ?? null },
      body: isSmall ? new TextDecoder().decode(bytes) : null,
      artifactType: facts.artifactType ?? null,
      annotations: small(facts.annotations),
      config: image?.text ?? null,
      architecture: image?.architecture ?? null,
      os: image?.os ?? null,
      variant: image?.variant ?? null,
      imageSize: facts.imageSize,
      ...{ createdAt: now, touchedAt: now },
    },
    needs: { blobs: facts.blobs.map(blob => blob.digest), manifests: facts.manifests },
    named: facts.named,
    isSparse: isPulled,
    knownTypes: KNOWN_TYPES,
    upload,
    subject: facts.subject ?? null,
  }
}

/** Referrers are listed with their annotations: an enormous one is in the manifest alone. */
function small(annotations: Record<string, string> | undefined): Record<string, string> | null {
  return annotations && JSON.stringify(annotations).length <= ANNOTATIONS_LIMIT ? annotations : null
}

/** The key is in a row before the object is there: whatever dies in between, a sweep finds it. */
async function putBody(ports: Ports, bytes: Uint8Array<ArrayBuffer>) {
  const upload = { id: newId<UploadId>(ports.random), objectKey: newObjectKey(ports.random) }
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  await insertUploads(ports.db, [{ ...upload, repository: null, digest: null, size: bytes.length, expiresAt }])
  await ports.blobs.put(upload.objectKey, bytes)
  return upload
}

/**
 * By tag: the tag alone. By digest: the manifest and its tags there, unless an index there names it.
 * Errors: `manifest.not-found`, `manifest.in-use`.
 */
export async function removeManifest(ports: Ports, repository: Repository, reference: string): Promise<void> {
  const isGone = reference.includes(':')
    ? await removeFromRepository(ports.db, repository, digestParameter(reference))
    : await deleteTag(ports.db, repository, reference, ports.clock.now())
  if (isGone) return
  const index = isDigest(reference) ? await indexNaming(ports.db, repository, reference) : undefined
  if (index) {
    throw new SlipwayError(
      'manifest.in-use',
      `${reference} is one of the images of the index ${index.digest}: delete that index from ${repository} first.`,
    )
  }
  await requireRepository(ports, repository)
  throw new SlipwayError('manifest.not-found', `Repository ${repository} has no manifest ${reference}.`)
}

/** A digest in a URL. Errors: `digest.invalid`. */
export function digestParameter(text: string): Digest {
  if (isDigest(text)) return parseDigest(text)
  throw new SlipwayError(
    'digest.invalid',
    `${text ? `${JSON.stringify(text.slice(0, 200))} is no digest that is taken here` : 'The digest is missing'}: use sha256: and 64 lower-case hex digits.`,
  )
}
