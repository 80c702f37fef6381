import { z } from 'zod'
import { signedUploadSchema } from './agent.ts'

export const contextSchema = z.object({
  id: z.string(),
  isUploaded: z.boolean(),
  size: z.int().optional(),
  expiresAt: z.iso.datetime(),
})
export type ContextView = z.infer<typeof contextSchema>

/** PUT the tar (plain, gzip or zstd) to `upload.url` with `upload.headers`. */
export const createdContextSchema = z.object({
  id: z.string(),
  upload: signedUploadSchema.extend({ method: z.literal('PUT') }),
  expiresAt: z.iso.datetime(),
})
