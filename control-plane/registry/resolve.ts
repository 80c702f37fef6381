import { imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'
import { type ImageReference, parseImageReference } from '#shared/domain/reference.ts'
import { type Mirrored, mirroredName } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findManifest, findTagged, imagesOfIndex, type ManifestRow } from '../store/manifests.ts'
import { keepManifest, manifestBody } from './manifests.ts'
import { pullManifest, pullPlatform } from './pull-manifest.ts'
import { keptName, type Source, sourceOf } from './upstream-names.ts'

/** A manifest of an image that can be run. */
export type ImageRow = ManifestRow & { config: string; architecture: string; os: string }

/** What a reference names in the store, and in which repository. */
export interface Found {
  row: ManifestRow
  repository: string
  tag: string | undefined
}

/** The manifest or index that a tag or digest names, in the store, kept for a while. Errors: `image.reference-invalid`, `image.not-found`. */
export async function findByReference(ports: Ports, reference: string): Promise<Found> {
  const { repository: name, tag, digest } = parseImageReference(reference)
  const repository = await keptName(ports, name)
  const row = digest ? await findManifest(ports.db, digest) : await findTagged(ports.db, repository, tag ?? 'latest')
  if (row && (await keepManifest(ports, row))) return { row, repository, tag: digest ? undefined : (tag ?? 'latest') }
  throw notFound(reference, sourceOf(ports, repository) === undefined ? mirroredName(name) : undefined)
}

/** An upstream that is away says nothing of the image, which a mistyped name is of, too. */
function notHereEither(reference: string, error: unknown): unknown {
  if (!(error instanceof SlipwayError) || error.code !== 'upstream.unreachable') return error
  const message = `There is no image ${reference} here (GET /v1/images), and ${error.message}`
  return new SlipwayError(error.code, message, { cause: error, facts: error.facts })
}

/** Who pushed to HOST/team/app runs team/app: here the name has no registry, whatever hosts lead to it. */
function notFound(reference: string, elsewhere: Mirrored | undefined): SlipwayError {
  const advice = elsewhere
    ? `${elsewhere.registry} is not configured as an upstream, and what was pushed here goes by its name alone (${elsewhere.remote}); push`
    : 'Push'
  return new SlipwayError(
    'image.not-found',
    `There is no image ${reference}. ${advice} or build it first, or see what there is (GET /v1/images).`,
  )
}

/**
 * The image that a reference names; of an index the one for the first of these architectures that it has, any for none.
 * Errors: as above, `image.wrong-architecture`, `image.manifest-invalid` for what is no image.
 */
export async function findImage(ports: Ports, reference: string, architectures: readonly string[]): Promise<ImageRow> {
  return imageFor((await findByReference(ports, reference)).row, ports, reference, architectures)
}

async function imageFor(
  row: ManifestRow,
  ports: Ports,
  reference: string,
  architectures: readonly string[],
): Promise<ImageRow> {
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

/**
 * The image to run: from the store, or through an upstream where the reference names one. Errors: as above, and those of
 * `Upstreams`. Costs no request to an upstream when the store knows the answer.
 */
export async function resolveImage(
  ports: Ports,
  reference: string,
  architectures: readonly string[],
): Promise<ResolvedImage> {
  const pulled = await pullImage(ports, reference, architectures).catch(error => {
    throw notHereEither(reference, error)
  })
  const row = pulled ?? (await findByReference(ports, reference)).row
  return readImage(ports, await imageFor(row, ports, reference, architectures))
}

/** What an upstream has under this reference, now in the store; undefined for an image of ours. */
async function pullImage(
  ports: Ports,
  reference: string,
  architectures: readonly string[],
): Promise<ManifestRow | undefined> {
  const { repository, tag, digest } = parseImageReference(reference)
  const known = digest && (await findManifest(ports.db, digest))
  const source = known && isImage(known) ? undefined : sourceOf(ports, await keptName(ports, repository))
  if (!source) return undefined
  const row = await pullNamed(ports, source, reference, { repository, tag, digest })
  await pullPlatform(ports, source, row, architectures)
  return row
}

async function pullNamed(ports: Ports, source: Source, reference: string, named: ImageReference): Promise<ManifestRow> {
  try {
    return await pullManifest(ports, source, named.digest ?? named.tag ?? 'latest')
  } catch (cause) {
    const isUnknown = cause instanceof SlipwayError && ['upstream.not-found', 'upstream.denied'].includes(cause.code)
    // A short name was meant for an image of ours as likely as for the Hub's: say so, in the words for that.
    if (isUnknown && !mirroredName(named.repository)) {
      throw new SlipwayError(
        'image.not-found',
        `There is no image ${reference} here, nor ${source.remote} at ${source.registry}: push or build it first.`,
        { cause },
      )
    }
    throw cause
  }
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
