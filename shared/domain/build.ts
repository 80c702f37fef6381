import { z } from 'zod'
import { digestSchema } from '../digest.ts'
import { faultSchema } from './container.ts'
import { type BuildId, type ContextId, idSchema } from './ids.ts'

export const BUILD_STATES = ['queued', 'running', 'succeeded', 'failed', 'canceled'] as const
export const buildStateSchema = z.enum(BUILD_STATES)
export type BuildState = z.infer<typeof buildStateSchema>

/** What to build. `tags` are full references (`repository:tag`); the context is a tar, plain or gzip, in the blob store. */
export const buildSpecSchema = z.object({
  contextId: idSchema<ContextId>(),
  dockerfile: z.string().min(1).max(1024),
  target: z.string().optional(),
  args: z.record(z.string(), z.string()),
  tags: z.array(z.string()),
  noCache: z.boolean(),
})
export type BuildSpec = z.infer<typeof buildSpecSchema>

export const desiredBuildSchema = z.object({
  id: idSchema<BuildId>(),
  generation: z.int().min(1),
  goal: z.enum(['built', 'canceled']),
  spec: buildSpecSchema,
})
export type DesiredBuild = z.infer<typeof desiredBuildSchema>

export const observedBuildSchema = z.discriminatedUnion('state', [
  z.object({ state: z.literal('running'), startedAt: z.int() }),
  z.object({ state: z.literal('succeeded'), startedAt: z.int(), finishedAt: z.int(), imageDigest: digestSchema }),
  z.object({ state: z.literal('failed'), startedAt: z.int(), finishedAt: z.int(), error: faultSchema }),
  z.object({ state: z.literal('canceled'), startedAt: z.int(), finishedAt: z.int() }),
])
export type ObservedBuild = z.infer<typeof observedBuildSchema>
