import { z } from 'zod'
import { digestSchema } from '../digest.ts'

/** OCI image-spec documents, as far as Slipway reads them. Unknown fields are kept where a digest depends on them. */

export const MEDIA_TYPES = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
} as const

export const descriptorSchema = z.object({
  mediaType: z.string().min(1).max(255),
  digest: digestSchema,
  size: z.int().min(0),
})
export type Descriptor = z.infer<typeof descriptorSchema>

export const imageManifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(1000),
  annotations: z.record(z.string(), z.string()).optional(),
})
export type ImageManifest = z.infer<typeof imageManifestSchema>

/**
 * `config` of the image configuration: what a container of this image does unless told otherwise. Loose: an image that
 * is built on another one keeps what only other programs read, such as a health check.
 */
export const imageDefaultsSchema = z.looseObject({
  // Docker's own builder writes null for what an image does not have.
  User: z.string().optional(),
  ExposedPorts: z.record(z.string(), z.object({})).nullish(),
  Env: z.array(z.string()).nullish(),
  Entrypoint: z.array(z.string()).nullish(),
  Cmd: z.array(z.string()).nullish(),
  Volumes: z.record(z.string(), z.object({})).nullish(),
  WorkingDir: z.string().optional(),
  Labels: z.record(z.string(), z.string()).nullish(),
  StopSignal: z.string().optional(),
  /** Docker's extension: the shell of shell-form instructions. */
  Shell: z.array(z.string()).optional(),
  /** Docker's extension; times in nanoseconds, 0 or none is "as usual". */
  Healthcheck: z
    .looseObject({
      Test: z.array(z.string()).nullish(),
      Interval: z.int().nullish(),
      Timeout: z.int().nullish(),
      StartPeriod: z.int().nullish(),
      StartInterval: z.int().nullish(),
      Retries: z.int().nullish(),
    })
    .nullish(),
  /** Docker's extension: instructions for whoever builds on this image. */
  OnBuild: z.array(z.string()).nullish(),
})
export type ImageDefaults = z.infer<typeof imageDefaultsSchema>

export const historyEntrySchema = z.object({
  created: z.string().optional(),
  created_by: z.string().optional(),
  author: z.string().optional(),
  comment: z.string().optional(),
  empty_layer: z.boolean().optional(),
})
export type HistoryEntry = z.infer<typeof historyEntrySchema>

export const imageConfigSchema = z.looseObject({
  created: z.string().optional(),
  author: z.string().optional(),
  architecture: z.string(),
  os: z.string(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  variant: z.string().optional(),
  config: imageDefaultsSchema.optional(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digestSchema) }),
  history: z.array(historyEntrySchema).optional(),
})
export type ImageConfig = z.infer<typeof imageConfigSchema>
