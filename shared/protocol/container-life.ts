import { z } from 'zod'
import { DEPENDENCY_CONDITIONS, HEALTH_STATUSES, healthResultSchema } from '../domain/health.ts'
import { signalSchema } from '../domain/signal.ts'

/** What `POST /v1/containers` takes of how a container begins, goes on and ends. */

/** The kernel would cut a text at its first NUL. */
const word = z
  .string()
  .max(128 * 1024)
  .refine(value => !value.includes('\0'), 'has a NUL character')
const said = <T extends z.ZodType>(schema: T, description: string) => schema.optional().meta({ description })

const timeSchema = z.string().regex(/^\d{1,6}(ms|[smhd])$/, 'a duration is a number and ms, s, m, h or d: 500ms, 30s')
const portSchema = z.int().min(1).max(65_535)
/** No more than RFC 9110 lets into a header, so that nothing else gets into the request. */
const headersSchema = z
  .record(z.string().regex(/^[A-Za-z0-9-]{1,64}$/), z.string().regex(/^[\x20-\x7e]{0,1024}$/))
  .refine(headers => Object.keys(headers).length <= 20, 'more than 20 headers')
const httpProbeSchema = z.strictObject({
  port: portSchema,
  path: said(z.string().regex(/^\/[\x21-\x7e]{0,2047}$/), 'With its query; left out: /.'),
  headers: said(headersSchema, 'Such as {"Host": "example.org"}.'),
})

export const healthCheckOptionSchema = z.union([
  z.literal('none'),
  z
    .strictObject({
      test: said(
        z.array(word).min(1).max(4096),
        '["CMD", program, …], ["CMD-SHELL", line] or ["NONE"], as in Compose files. 0 is healthy.',
      ),
      http: said(httpProbeSchema, 'A GET to the loopback of the container; a status from 200 to 399 is healthy.'),
      tcp: said(z.strictObject({ port: portSchema }), 'A connection to the loopback of the container.'),
      interval: said(timeSchema, 'From the end of one check to the next, at least 100ms; 30s.'),
      timeout: said(timeSchema, 'Of one check, which is killed then with all that it began; 30s.'),
      retries: said(z.int().min(1).max(1_000_000), 'Failures in a row that make it unhealthy; 3.'),
      startPeriod: said(timeSchema, 'How long after its start failures do not count; 0s.'),
      startInterval: said(timeSchema, 'In place of the interval during the start period; 5s.'),
    })
    .refine(
      ({ test, http, tcp }) => [test, http, tcp].filter(probe => probe !== undefined).length <= 1,
      'one of test, http and tcp',
    ),
])
export type HealthCheckOption = z.infer<typeof healthCheckOptionSchema>

export const dependencyOptionSchema = z.strictObject({
  container: z.string().min(1).max(63).meta({ description: 'Id or name' }),
  condition: z.enum(DEPENDENCY_CONDITIONS).default('started'),
})

export const lifeOptions = {
  stopSignal: signalSchema.optional().meta({ description: "What ends it. Left out: the image's, or SIGTERM." }),
  stopTimeout: said(z.number().min(0).max(3600), 'Seconds from that signal to SIGKILL, where a stop says none; 10.'),
  init: said(z.boolean(), 'An init as first process, which passes signals on to the command and reaps processes.'),
  autoRemove: said(z.boolean(), "It is removed once it has ended. Not with a restart policy. Docker's --rm."),
  healthCheck: said(
    healthCheckOptionSchema,
    "How it is asked whether it works; none: not at all. Left out: the image's.",
  ),
  dependsOn: said(
    z.array(dependencyOptionSchema).max(100),
    'Containers of the same host that are to be started, healthy or completed (ended with 0) before it begins.',
  ),
}

/** The same as the API shows it. */
export const lifeView = {
  stopSignal: z.string().optional(),
  stopTimeout: z.number().optional(),
  init: z.boolean().optional(),
  autoRemove: z.boolean().optional(),
  healthCheck: z.unknown().optional().meta({ description: "As it was asked for; left out: the image's" }),
  dependsOn: z.array(z.object({ container: z.string(), condition: z.string() })).optional(),
  oomKilled: z
    .boolean()
    .optional()
    .meta({ description: 'The kernel killed processes of the last run because of its memory' }),
  health: z
    .object({ status: z.enum(HEALTH_STATUSES), failingStreak: z.int(), lastFailure: healthResultSchema.optional() })
    .optional()
    .meta({ description: 'While it runs and is checked' }),
}

/** The last checks, oldest first; times are Unix milliseconds. */
export const healthLogSchema = z.object({
  status: z.enum(HEALTH_STATUSES),
  failingStreak: z.int(),
  log: z.array(healthResultSchema),
})
export type HealthLog = z.infer<typeof healthLogSchema>
