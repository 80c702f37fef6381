import { z } from 'zod'
import { durationSchema } from '../domain/duration.ts'
import { sizeOrNothingSchema } from '../domain/size.ts'

/** As `docker image prune --all` and `docker builder prune` of one machine. Strict: a mistyped bound is none. */
export const pruneHostSchema = z
  .strictObject({
    images: z.boolean().default(false).meta({ description: 'Images that no container of the host has' }),
    buildCache: z.boolean().default(false).meta({
      description: 'Steps of builds that the host keeps, and folders of RUN --mount=type=cache',
    }),
    unusedFor: durationSchema.optional().meta({ description: 'Only what was not used for so long: 24h, 7d' }),
    keepBytes: sizeOrNothingSchema.optional().meta({
      description:
        'Of the build cache: the longest unused go until so much is left: bytes, or a number with k, m or g. 0: all of it goes',
    }),
  })
  .refine(({ images, buildCache }) => images || buildCache, { message: 'say what goes: images, buildCache or both' })
  .refine(({ buildCache, keepBytes }) => buildCache || keepBytes === undefined, {
    path: ['keepBytes'],
    message: 'is of the buildCache, which is not to be pruned',
  })
export type PruneHost = z.infer<typeof pruneHostSchema>

export const prunedHostSchema = z.object({
  images: z.int().meta({ description: 'Removed' }),
  cachedSteps: z.int().meta({ description: 'Removed, folders of cache mounts among them' }),
  bytes: z
    .int()
    .meta({ description: 'Of the disk, that they took and nothing else needs; with layers that nothing names' }),
})
export type PrunedHost = z.infer<typeof prunedHostSchema>
