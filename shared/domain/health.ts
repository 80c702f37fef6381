import { z } from 'zod'

/** How a container is asked whether it works. `http` and `tcp` go to the container's own loopback, from inside its network. */
export const healthProbeSchema = z.discriminatedUnion('kind', [
  /** Docker's CMD: a program with its arguments; 0 is healthy. */
  z.object({ kind: z.literal('command'), args: z.array(z.string()).min(1) }),
  /** Docker's CMD-SHELL: a line for the image's shell. */
  z.object({ kind: z.literal('shell'), line: z.string().min(1) }),
  /** A GET that is answered with a status from 200 to 399. */
  z.object({ kind: z.literal('http'), port: z.int(), path: z.string(), headers: z.record(z.string(), z.string()) }),
  /** A connection that is taken. */
  z.object({ kind: z.literal('tcp'), port: z.int() }),
])
export type HealthProbe = z.infer<typeof healthProbeSchema>

const durationMsSchema = z.int().min(0)

/** What a container says of its health check. What it leaves out is the image's, and then Docker's default. */
export const healthCheckSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('none') }),
  z.object({
    kind: z.literal('check'),
    probe: healthProbeSchema.optional(),
    intervalMs: durationMsSchema.optional(),
    timeoutMs: durationMsSchema.optional(),
    startPeriodMs: durationMsSchema.optional(),
    startIntervalMs: durationMsSchema.optional(),
    retries: z.int().min(1).optional(),
  }),
])
export type HealthCheck = z.infer<typeof healthCheckSchema>

/** A health check with nothing left out: what the agent carries out. */
export const healthPlanSchema = z.object({
  probe: healthProbeSchema,
  /** From the end of one check to the beginning of the next. */
  intervalMs: durationMsSchema,
  timeoutMs: durationMsSchema,
  /** For so long after its start failures do not count, unless it was healthy before. */
  startPeriodMs: durationMsSchema,
  /** In place of the interval, until it is healthy or the start period is over. */
  startIntervalMs: durationMsSchema,
  /** Failures in a row that make it unhealthy. */
  retries: z.int().min(1),
})
export type HealthPlan = z.infer<typeof healthPlanSchema>

export const HEALTH_STATUSES = ['starting', 'healthy', 'unhealthy'] as const

/** Of one check. Times are Unix milliseconds. */
export const healthResultSchema = z.object({
  startedAt: z.int().min(0),
  finishedAt: z.int().min(0),
  /** 0: healthy. A program's own; 1 where an HTTP or TCP check failed; -1 where a check took too long or could not be made. */
  exitCode: z.int(),
  output: z.string(),
})
export type HealthResult = z.infer<typeof healthResultSchema>
export const HEALTH_OUTPUT_BYTES = 4096
export const HEALTH_RESULTS_KEPT = 5

/** What is told of a container's health: anew when `status` or `failingStreak` changes. */
export const containerHealthSchema = z.object({
  status: z.enum(HEALTH_STATUSES),
  /** Failures in a row that count. */
  failingStreak: z.int().min(0),
  /** The check that made it so, where it failed. */
  lastFailure: healthResultSchema.optional(),
})
export type ContainerHealth = z.infer<typeof containerHealthSchema>

/** What is to be so of another container before one begins (Compose's conditions). */
export const DEPENDENCY_CONDITIONS = ['started', 'healthy', 'completed'] as const
