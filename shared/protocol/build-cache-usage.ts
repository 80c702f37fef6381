import { z } from 'zod'
import { durationSchema } from '../domain/duration.ts'
import { sizeOrNothingSchema } from '../domain/size.ts'

/** What the fleet's cache of build steps takes in the store. */
export const buildCacheSchema = z.object({
  steps: z.int(),
  layers: z.int().meta({ description: 'Blobs of those steps, each once; steps that changed no file have none' }),
  bytes: z.int().meta({ description: 'Of these blobs' }),
  reclaimableBytes: z
    .int()
    .meta({ description: 'Of the blobs that no image needs: what would be free without the cache' }),
  oldestUseAt: z.iso.datetime().optional().meta({ description: 'When the longest unused step was used; to the hour' }),
  newestUseAt: z.iso.datetime().optional(),
  limits: z.object({
    bytes: z.int().meta({ description: 'Above it the longest unused go; 0: hosts share no steps' }),
    steps: z.int(),
    unusedFor: durationSchema.meta({ description: 'What was not used for so long goes' }),
  }),
})
export type BuildCacheUsage = z.infer<typeof buildCacheSchema>

/** As `docker builder prune` takes it: `--all`, `--filter until=24h`, `--keep-storage`. Strict: a mistyped bound is none. */
export const pruneBuildCacheSchema = z
  .strictObject({
    all: z.boolean().default(false).meta({ description: 'Every step' }),
    unusedFor: durationSchema.optional().meta({ description: 'Only steps that were not used for so long: 24h, 7d' }),
    keepBytes: sizeOrNothingSchema.optional().meta({
      description:
        'The longest unused go until layers of so many bytes are left: bytes, or a number with k, m or g. 0: every step goes',
    }),
  })
  .refine(({ all, unusedFor, keepBytes }) => all !== (unusedFor !== undefined || keepBytes !== undefined), {
    message: 'say what goes: either all, or unusedFor, keepBytes or both',
  })
export type PruneBuildCache = z.infer<typeof pruneBuildCacheSchema>

export const prunedBuildCacheSchema = z.object({
  steps: z.int().meta({ description: 'Removed' }),
  bytes: z.int().meta({ description: 'Of layers that no step has any more' }),
  reclaimableBytes: z.int().meta({
    description: 'Of those layers, what no image needs: free once garbage was collected (POST /v1/registry/gc)',
  }),
  isComplete: z.boolean().meta({ description: 'False when there was too much for one request: ask again' }),
})
export type PrunedBuildCache = z.infer<typeof prunedBuildCacheSchema>
