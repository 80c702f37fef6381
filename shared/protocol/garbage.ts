import { z } from 'zod'
import { retentionRuleSchema } from './retention.ts'

/** Strict: a mistyped `dryRun` must not become a run. */
export const collectGarbageSchema = z
  .strictObject({
    dryRun: z.boolean().default(false).meta({ description: 'Says what would go, and removes nothing' }),
    rules: z.array(retentionRuleSchema).max(100).optional().meta({
      description: 'To try before they are stored, in place of those that are: with `dryRun` alone',
    }),
  })
  .refine(({ dryRun, rules }) => dryRun || rules === undefined, {
    path: ['rules'],
    message: 'are tried with dryRun alone: PUT /v1/registry/retention stores them',
  })

/** How many, how many bytes, and the first of them. */
const removedSchema = z.object({ count: z.int(), bytes: z.int(), first: z.array(z.string()) })
export type Removed = z.infer<typeof removedSchema>

/** What a run removed, or (dry) would remove. */
export const garbageSchema = z.object({
  dryRun: z.boolean(),
  /** False when there was too much for one request: the rest goes by itself, or with the next one. */
  isComplete: z.boolean(),
  /** By rules of retention: `repository:tag`. */
  tags: removedSchema.omit({ bytes: true }),
  /** By rules of retention: manifests that left a repository, `repository@digest`. */
  untagged: removedSchema.omit({ bytes: true }),
  /** Documents that nothing holds; bytes of the documents themselves. */
  manifests: removedSchema,
  /** Compressed bytes in the blob store. */
  blobs: removedSchema,
  /** Permissions of repositories to hand out a blob that they do not need and that stays. */
  links: z.object({ count: z.int() }),
  /** Uploads that nobody went on with, and the bytes taken or announced. */
  uploads: removedSchema,
  /** Objects deleted from the blob store: an hour after their rows, when no signed URL works any more. */
  objects: z.object({ count: z.int() }),
})
export type Garbage = z.infer<typeof garbageSchema>
