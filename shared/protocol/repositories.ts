import { z } from 'zod'

export const repositorySummarySchema = z.object({
  name: z.string(),
  tagCount: z.int(),
  /** Manifests and indexes, tagged or not. */
  manifestCount: z.int(),
  /** Compressed bytes of the blobs that its manifests need, each counted once. */
  size: z.int(),
  updatedAt: z.iso.datetime(),
})
export type RepositorySummary = z.infer<typeof repositorySummarySchema>

export const repositorySchema = repositorySummarySchema.extend({
  usage: z.object({
    total: z.int(),
    /** Bytes of blobs that other repositories need as well. */
    shared: z.int(),
    /** Bytes that would be free without this repository. */
    unique: z.int(),
  }),
  /** A page of tags, by name. */
  tags: z.array(
    z.object({
      tag: z.string(),
      digest: z.string(),
      mediaType: z.string(),
      /** Compressed bytes of all that it names; of an index, of its images together. */
      size: z.int(),
      updatedAt: z.iso.datetime(),
    }),
  ),
  nextCursor: z.string().optional(),
})
export type RepositoryView = z.infer<typeof repositorySchema>
