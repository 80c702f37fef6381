import { z } from 'zod'
import { imageDefaultsSchema } from '../domain/image.ts'

export const imageSummarySchema = z.object({
  digest: z.string(),
  tags: z
    .array(z.string())
    .meta({ description: 'Its own, then those of indexes that have it as one of their platforms' }),
  /** Compressed bytes of configuration and layers. */
  size: z.int(),
  /** Of those, each counted once, the bytes that other images in a repository need as well. */
  sharedSize: z.int(),
  /** The bytes that it alone needs, which would be free without it. */
  uniqueSize: z.int(),
  unpackedSize: z.int().nullable().meta({
    description: 'Bytes of its layers as tars; null until hosts of Slipway have unpacked or built each of them',
  }),
  architecture: z.string(),
  os: z.string(),
  createdAt: z.iso.datetime(),
})
export type ImageSummary = z.infer<typeof imageSummarySchema>

export const imageSchema = imageSummarySchema.extend({
  config: imageDefaultsSchema,
  layers: z.array(z.object({ digest: z.string(), diffId: z.string(), size: z.int(), mediaType: z.string() })),
})
export type ImageView = z.infer<typeof imageSchema>

export const imageHistorySchema = z.object({
  items: z.array(
    z.object({
      createdAt: z.string().optional(),
      createdBy: z.string().optional(),
      comment: z.string().optional(),
      /** Compressed bytes of the layer it made; 0 for one that made none. */
      size: z.int(),
      isEmpty: z.boolean(),
    }),
  ),
})
export const tagImageSchema = z.strictObject({ tag: z.string().max(600) })
