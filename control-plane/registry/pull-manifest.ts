import type { Digest } from '#shared/digest.ts'
import { isDigest } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { UpstreamManifest } from '#shared/ports/upstreams.ts'
import type { Ports } from '../ports.ts'
import { findManifestIn, findTagged, type ManifestRow } from '../store/manifests.ts'
import { setTag } from '../store/tags.ts'
import { markTagChecked, tagCheckedAt } from '../store/upstreams.ts'
import { type IndexEntry, isIndex, type ManifestFacts, readIndex, readManifest } from './manifest-document.ts'
import { INLINE_LIMIT, keepManifest, manifestBody, storeManifest } from './manifests.ts'
import { CLIENT_PATIENCE_MS, pullBlob } from './pull-blob.ts'
import type { Source } from './upstream-names.ts'

/** After an upstream failed to answer for a tag that we have, it is left alone for this long. */
const REST_MS = 30_000

/**
 * A manifest or index of an upstream by tag or digest: from the store while it is known to be right, else fetched and
 * stored with its configuration; layers and other platforms come when they are asked for. A digest is asked for once; a
 * tag is looked up again after its time, and served as it was when the upstream fails. Errors: those of `Upstreams`.
 */
export async function pullManifest(ports: Ports, source: Source, reference: string): Promise<ManifestRow> {
  const row = await (isDigest(reference) ? pullDigest(ports, source, reference) : pullTag(ports, source, reference))
  if (await keepManifest(ports, row)) return row
  throw new SlipwayError('upstream.busy', `${source.repository} ${reference} was removed just now: ask again.`)
}

async function pullDigest(ports: Ports, source: Source, digest: Digest): Promise<ManifestRow> {
  const row = await findManifestIn(ports.db, source.repository, digest)
  return row ?? ports.share(`manifest ${source.repository}@${digest}`, () => fetchManifest(ports, source, digest))
}

async function pullTag(ports: Ports, source: Source, tag: string): Promise<ManifestRow> {
  const { repository, tagTtlMs } = source
  const row = await findTagged(ports.db, repository, tag)
  const checkedAt = row && (await tagCheckedAt(ports.db, repository, tag))
  if (row && checkedAt !== undefined && ports.clock.now() < checkedAt + tagTtlMs) return row
  return ports.share(`tag ${repository}:${tag}`, () =>
    row ? checkedTag(ports, source, tag, row) : fetchManifest(ports, source, tag, tag),
  )
}

/** What the tag names now; what it named before when nobody can say. */
async function checkedTag(ports: Ports, source: Source, tag: string, row: ManifestRow): Promise<ManifestRow> {
  const { repository, tagTtlMs } = source
  try {
    const digest = await ports.upstreams.tagDigest(source, tag, row.digest)
    if (digest !== row.digest) return await fetchManifest(ports, source, digest ?? tag, tag)
    await markTagChecked(ports.db, repository, tag, ports.clock.now())
    return row
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error
    const { code, message } = error
    ports.note('a tag is served as it was: its upstream does not say what it is now', {
      repository,
      tag,
      code,
      message,
    })
    await markTagChecked(ports.db, repository, tag, ports.clock.now() - tagTtlMs + Math.min(REST_MS, tagTtlMs))
    return row
  }
}

/** Fetches and stores; under a tag too where one is given. */
async function fetchManifest(ports: Ports, source: Source, reference: string, tag?: string): Promise<ManifestRow> {
  const { db, clock } = ports
  const { repository } = source
  const here = isDigest(reference) ? await findManifestIn(db, repository, reference) : undefined
  const digest = here?.digest ?? (await fetchAndStore(ports, source, reference))
  if (tag !== undefined) {
    const now = clock.now()
    await db.batch([
      ...setTag(db, { repository, tag, digest, updatedAt: now }),
      markTagChecked(db, repository, tag, now),
    ])
  }
  const row = await findManifestIn(db, repository, digest)
  if (row) return row
  throw new SlipwayError('upstream.busy', `${repository} ${reference} was removed as soon as it came: ask again.`)
}

async function fetchAndStore(ports: Ports, source: Source, reference: string): Promise<Digest> {
  const { repository } = source
  const fetched = await ports.upstreams.manifest(source, reference)
  const facts = readFacts(fetched, source)
  const { imageConfig: config } = facts
  if (config && config.size <= INLINE_LIMIT) {
    const { digest, size } = config
    await pullBlob(ports, { repository, digest, size, source: repository }, CLIENT_PATIENCE_MS)
  }
  const { digest, bytes } = fetched
  await storeManifest(ports, repository, { digest, bytes, facts, tag: undefined, isPulled: true })
  return digest
}

function readFacts({ bytes, mediaType }: UpstreamManifest, source: Source): ManifestFacts {
  try {
    return readManifest(bytes, mediaType)
  } catch (cause) {
    throw new SlipwayError('upstream.answer-invalid', `${source.registry} gave a manifest that cannot be read.`, {
      cause,
    })
  }
}

/**
 * Fetches the image of an index for the first of these architectures that it has, any for none; nothing for what is no
 * index. Errors: as above, and `image.wrong-architecture`.
 */
export async function pullPlatform(
  ports: Ports,
  source: Source,
  row: ManifestRow,
  architectures: readonly string[],
): Promise<void> {
  if (!isIndex(row.mediaType)) return
  const entries = readIndex(await manifestBody(ports, row)).filter(({ platform }) => platform?.os === 'linux')
  const entry = architectures.length === 0 ? entries[0] : firstFor(entries, architectures)
  if (entry) return void (await pullDigest(ports, source, entry.digest))
  const have = entries.map(({ platform }) => platform?.architecture).join(', ') || 'nothing that runs on Linux'
  throw new SlipwayError(
    'image.wrong-architecture',
    `${source.repository} is for ${have}, and the hosts are ${architectures.join(', ')}: add such a host, or choose another image.`,
  )
}

function firstFor(entries: readonly IndexEntry[], architectures: readonly string[]): IndexEntry | undefined {
  for (const wanted of architectures) {
    const found = entries.find(({ platform }) => platform?.architecture === wanted)
    if (found) return found
  }
  return undefined
}
