import { z } from 'zod'
import { cacheMountIdSchema, savedMountSchema } from '../domain/cache-mount.ts'
import { type BuildId, idSchema } from '../domain/ids.ts'

/**
 * What hosts saved of `RUN --mount=type=cache`, under `/v1/agent/builds/cache/mounts` with a host's own token:
 *
 * - `GET ?id=I&architecture=A`: what was saved last, if anything was, and how much one may hold. It counts as used then, and
 *   its blob stays for the registry's grace period at least.
 * - `PUT`: what takes its place, whoever saved that. Its blob has to be in the store. Idempotent. Errors: `blob.not-found`,
 *   `request.too-large`.
 */
export const cacheMountQuerySchema = z.strictObject({
  id: cacheMountIdSchema,
  architecture: z.string().min(1).max(32),
})

export const foundMountSchema = z.object({
  saved: savedMountSchema.optional(),
  /** What the files of one that is saved may have together. */
  maxBytes: z.int().min(1),
})
export type FoundMount = z.infer<typeof foundMountSchema>

export const saveMountSchema = cacheMountQuerySchema.extend({
  saved: savedMountSchema,
  /** The build that left it so. */
  build: idSchema<BuildId>(),
})
export type SaveMount = z.infer<typeof saveMountSchema>

/** As operators see one. */
export const cacheMountSchema = z.object({
  key: z.string().meta({ description: 'Names it in the API: one for each id and architecture' }),
  id: z.string().meta({ description: 'As RUN --mount=type=cache has it: its id, else its target' }),
  architecture: z.string(),
  digest: z.string().meta({ description: 'Of the tar, compressed with zstd, in the blob store' }),
  bytes: z.int().meta({ description: 'That it takes in the blob store' }),
  unpackedBytes: z.int().meta({ description: 'Of the tar in it' }),
  build: z.string().meta({ description: 'The build that left it so' }),
  host: z.string().meta({ description: 'Id of the host that saved it' }),
  savedAt: z.iso.datetime(),
  usedAt: z.iso.datetime().meta({ description: 'When a host last asked for it' }),
})
export type CacheMountView = z.infer<typeof cacheMountSchema>
