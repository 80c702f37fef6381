import { z } from 'zod'
import { type Digest, digestSchema } from '#shared/digest.ts'
import { type Descriptor, descriptorSchema, MEDIA_TYPES } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'

/** What the registry reads of a manifest, whatever its kind. */
export interface ManifestFacts {
  mediaType: string
  artifactType?: string | undefined
  annotations?: Record<string, string> | undefined
  subject?: Digest | undefined
  /** Blobs that must be there. */
  blobs: Pick<Descriptor, 'digest' | 'size'>[]
  /** Manifests that must be there. */
  manifests: Digest[]
  /** All it names, in its order, there or not: what is there stays for it. */
  named: Digest[]
  /** The configuration, where it is one of an image that can be run. */
  imageConfig?: Descriptor | undefined
  /** Bytes of configuration and layers. */
  imageSize: number
}

const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json'
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
const INDEX = 'application/vnd.oci.image.index.v1+json'
const IMAGE_CONFIGS: string[] = [MEDIA_TYPES.config, 'application/vnd.docker.container.image.v1+json']
/** Documents whose kind is known; whatever else is pushed is kept as it came. */
export const KNOWN_TYPES: readonly string[] = [DOCKER, DOCKER_LIST, MEDIA_TYPES.manifest, INDEX]
const MAX_CHILDREN = 10_000

const platformSchema = z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() })
const annotationsSchema = z.record(z.string(), z.string()).nullish()
/** Foreign layers are fetched from their `urls`; a registry need not have them (image-spec, "Non-Distributable Layers"). */
const layerSchema = descriptorSchema.extend({ urls: z.array(z.string()).nullish() })
const base = { schemaVersion: z.literal(2), mediaType: z.string().optional(), annotations: annotationsSchema }
const imageSchema = z.object({
  ...base,
  artifactType: z.string().optional(),
  config: descriptorSchema,
  layers: z.array(layerSchema).max(MAX_CHILDREN),
  subject: descriptorSchema.nullish(),
})
const indexSchema = z.object({
  ...base,
  artifactType: z.string().optional(),
  manifests: z.array(descriptorSchema).max(MAX_CHILDREN),
  subject: descriptorSchema.nullish(),
})
/** The OCI artifact manifest, which a release candidate of image-spec 1.1 had, and whatever else names a subject. */
const otherSchema = z.looseObject({
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  annotations: annotationsSchema,
  blobs: z.array(layerSchema).max(MAX_CHILDREN).nullish(),
  subject: z.looseObject({ digest: digestSchema }).nullish(),
})

const placesSchema = z
  .looseObject({ config: z.unknown(), layers: z.unknown(), blobs: z.unknown(), manifests: z.unknown() })
  .partial()
  .catch({})
const namedSchema = z.looseObject({ digest: digestSchema })
/** RFC 6838 §4.2. It is sent as a header: another one would make the manifest one that nobody can be given. */
const MEDIA_TYPE = /^[a-z0-9][\w!#$&^.+-]{0,126}\/[a-z0-9][\w!#$&^.+-]{0,126}$/i
const SCHEMA_1 = 'docker.distribution.manifest.v1'

/** Reads a manifest; an unknown media type is kept as it came. Errors: `manifest.invalid` with the field. */
export function readManifest(bytes: Uint8Array, contentType: string | undefined): ManifestFacts {
  const value = parseJson(bytes)
  const own = typeof value === 'object' && value !== null && 'mediaType' in value ? value.mediaType : undefined
  const named = contentType?.split(';')[0]?.trim() || undefined
  const mediaType = named ?? (typeof own === 'string' ? own : undefined)
  if (!mediaType) throw invalid('it has no media type: send it as Content-Type')
  if (!MEDIA_TYPE.test(mediaType)) throw invalid(`${JSON.stringify(mediaType.slice(0, 255))} is no media type`)
  if (typeof own === 'string' && own !== mediaType)
    throw invalid(`its mediaType is ${own}, but it was sent as ${mediaType}: send Content-Type: ${own}`)
  if (mediaType.includes(SCHEMA_1)) throw invalid('Docker schema 1 is no longer taken: push it with a newer client')
  return { ...factsOf(mediaType, value), named: namedIn(value) }
}

type OwnFacts = Omit<ManifestFacts, 'named'>

function factsOf(mediaType: string, value: unknown): OwnFacts {
  if (mediaType === DOCKER || mediaType === MEDIA_TYPES.manifest)
    return imageFacts(mediaType, checked(imageSchema, value))
  if (isIndex(mediaType)) return indexFacts(mediaType, checked(indexSchema, value))
  const { artifactType, annotations, blobs, subject } = checked(otherSchema, value)
  return {
    ...{ mediaType, artifactType, annotations: annotations ?? undefined, subject: subject?.digest },
    ...{ blobs: blobs ?? [], manifests: [], imageSize: 0 },
  }
}

/** Descriptors in the places where documents of all known kinds have them. */
function namedIn(value: unknown): Digest[] {
  const { config, layers, blobs, manifests } = placesSchema.parse(value)
  const places = [config, ...[layers, blobs, manifests].flatMap(list => (Array.isArray(list) ? list : []))]
  const digests = places.slice(0, MAX_CHILDREN).map(place => namedSchema.safeParse(place).data?.digest)
  return [...new Set(digests.filter(digest => digest !== undefined))]
}

export interface IndexEntry {
  digest: Digest
  platform?: z.infer<typeof platformSchema> | undefined
}

/** The images of an index with their platforms, in its order. Errors: `manifest.invalid`. */
export function readIndex(bytes: Uint8Array): IndexEntry[] {
  const schema = z.object({
    manifests: z.array(z.object({ digest: digestSchema, platform: platformSchema.optional() })).max(MAX_CHILDREN),
  })
  return checked(schema, parseJson(bytes)).manifests
}

export function isIndex(mediaType: string): boolean {
  return mediaType === DOCKER_LIST || mediaType === INDEX
}

function imageFacts(mediaType: string, manifest: z.infer<typeof imageSchema>): OwnFacts {
  const { config, layers, subject, annotations } = manifest
  const own = layers.filter(({ urls }) => !urls || urls.length === 0)
  return {
    mediaType,
    // distribution-spec 1.1, "Listing Referrers": without one of its own, the configuration's media type stands for it.
    artifactType: manifest.artifactType ?? config.mediaType,
    annotations: annotations ?? undefined,
    subject: subject?.digest,
    blobs: [config, ...own],
    manifests: [],
    imageConfig: IMAGE_CONFIGS.includes(config.mediaType) ? config : undefined,
    imageSize: [config, ...layers].reduce((sum, { size }) => sum + size, 0),
  }
}

function indexFacts(mediaType: string, index: z.infer<typeof indexSchema>): OwnFacts {
  return {
    mediaType,
    artifactType: index.artifactType,
    annotations: index.annotations ?? undefined,
    subject: index.subject?.digest,
    blobs: [],
    manifests: index.manifests.map(({ digest }) => digest),
    imageSize: 0,
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw invalid('it is no JSON', cause)
  }
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const read = schema.safeParse(value)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw invalid(`${issue?.path.join('.') || 'the document'}: ${issue?.message}`)
}

function invalid(why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('manifest.invalid', `The manifest cannot be taken: ${why}.`, { cause })
}
