import { z } from 'zod'
import { durationSchema } from './duration.ts'
import { labelsSchema } from './host.ts'
import { sizeSchema } from './size.ts'

/** What one build may take at most; what is left out is unlimited. */
export const buildLimitsSchema = z.object({
  /** Of each RUN. */
  cpus: z.number().min(0.01).max(1024).optional(),
  /** Of each RUN, in bytes. */
  memoryBytes: z
    .int()
    .min(6 * 1024 * 1024)
    .optional(),
  /** Bytes that the whole build writes on its host's disk. */
  diskBytes: z.int().min(1).optional(),
  /** Of the whole build, from when a host begins it, in milliseconds. */
  timeoutMs: z.int().min(1).optional(),
})
export type BuildLimits = z.infer<typeof buildLimitsSchema>

/** Limits as people write them. */
export const askedLimitsSchema = z.object({
  cpus: z.number().min(0.01).max(1024).optional().meta({ description: 'CPUs of each RUN, in fractions' }),
  memory: sizeSchema
    .optional()
    .meta({ description: 'Of each RUN: bytes, or a number with k, m or g; at least 6m. No swap beyond it' }),
  disk: sizeSchema
    .optional()
    .meta({ description: "What the whole build may write on its host's disk: context, layers, files of RUN" }),
  timeout: durationSchema.optional().meta({
    description: 'Of the whole build, from when a host begins it: 90s, 30m, 2h. Waiting for a host is not in it',
  }),
})
export type AskedLimits = z.infer<typeof askedLimitsSchema>

/** What a host must have to be given a build. */
export const buildNeedsSchema = askedLimitsSchema.extend({
  constraints: labelsSchema
    .optional()
    .meta({ description: 'Labels that the host must have (SLIPWAY_LABELS of its agent), each with this value' }),
  platform: z
    .string()
    .regex(/^linux\/(amd64|arm64|arm|386|riscv64)$/, 'linux/amd64, linux/arm64, …')
    .optional()
    .meta({ description: 'What the host must be; left out: any' }),
})
export type BuildNeeds = z.infer<typeof buildNeedsSchema>

/** Which hosts may take a build. */
export const placementSchema = z.object({
  /** The only one, by its id. */
  host: z.string().optional(),
  labels: labelsSchema.optional(),
  architecture: z.string().optional(),
})
export type Placement = z.infer<typeof placementSchema>
