import { z } from 'zod'
import { diskUsageSchema, hostFactsSchema } from '../domain/host.ts'

export const hostNameSchema = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, 'up to 63 letters, digits, dots, dashes and underscores')

export const createHostSchema = z.strictObject({ name: hostNameSchema })

export const hostSchema = z.object({
  id: z.string(),
  name: z.string(),
  /** `unknown`: it has not been heard of for 30 seconds; what ran on it goes on. */
  state: z.enum(['ready', 'unknown']),
  subnet: z.string(),
  generation: z.int(),
  observedGeneration: z.int(),
  createdAt: z.iso.datetime(),
  lastSeenAt: z.iso.datetime().optional(),
  facts: hostFactsSchema.optional(),
  disk: diskUsageSchema
    .extend({ measuredAt: z.iso.datetime() })
    .optional()
    .meta({ description: 'What takes room on its disk, and what could be freed' }),
})
export type HostView = z.infer<typeof hostSchema>

export const createdHostSchema = hostSchema.extend({ token: z.string() })
