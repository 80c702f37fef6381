import { z } from 'zod'
import { stepKeySchema, stepResultSchema } from '../domain/cached-step.ts'

/**
 * The fleet's cache of build steps, under `/v1/agent/builds/cache` with a host's own token:
 *
 * - `GET steps/{key}`: the step if the fleet has it, and steps that were built on it, so that a chain of steps costs one
 *   question and not one a step. Whoever is told of a layer has the registry's grace period to name its blob.
 * - `PUT steps/{key}`: what a step gave. Its blob has to be in the store. The first word stays unless it `isAnew`, a repeat
 *   counts as a use; where the cache is turned off nothing is taken, and no blob is asked for. Errors: `blob.not-found`, `blob.size-mismatch`.
 */
export const FOLLOWING_STEPS = 64

export const foundStepsSchema = z.object({
  /** The one asked for first, where there is one; none without it. */
  steps: z.array(z.object({ key: stepKeySchema, result: stepResultSchema })).max(FOLLOWING_STEPS + 1),
})
export type FoundSteps = z.infer<typeof foundStepsSchema>

export const shareStepSchema = z.strictObject({
  /** The step before it in its stage; left out for a stage's first. */
  after: stepKeySchema.optional(),
  result: stepResultSchema,
  /** Of a build that was to use no cache: it takes the place of what was told before. */
  isAnew: z.boolean().default(false),
})
export type ShareStep = z.infer<typeof shareStepSchema>
