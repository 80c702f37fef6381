import { z } from 'zod'
import { DEPENDENCY_CONDITIONS, healthCheckSchema } from './health.ts'
import { type ContainerId, idSchema } from './ids.ts'
import { signalNameSchema } from './signal.ts'

export const dependencySchema = z.object({
  container: idSchema<ContainerId>(),
  condition: z.enum(DEPENDENCY_CONDITIONS),
})
export type Dependency = z.infer<typeof dependencySchema>

/** The part of a container's spec that tells how it begins, goes on and ends. */
export const lifeSpecSchema = z.object({
  /** What ends it; left out, the image's own, and then SIGTERM. */
  stopSignal: signalNameSchema.optional(),
  /** From that signal to SIGKILL; left out, 10 s. */
  stopTimeoutMs: z.int().min(0).optional(),
  /** Its first process is an init that passes signals on and reaps; the command is its child. */
  hasInit: z.boolean().optional(),
  /** It is removed once it has ended and is not to be started again. */
  isAutoRemoved: z.boolean().optional(),
  /** Left out: the image's. */
  healthCheck: healthCheckSchema.optional(),
  /** Of the same host, older than it, so that there are no circles. */
  dependsOn: z.array(dependencySchema).optional(),
})
export type LifeSpec = z.infer<typeof lifeSpecSchema>
