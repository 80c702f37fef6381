import { z } from 'zod'
import { containerSizeSchema, faultSchema } from '../domain/container.ts'
import { durationSchema } from '../domain/duration.ts'
import { furtherLimitsSchema } from '../domain/resources.ts'
import { securitySchema } from '../domain/security.ts'
import { signalSchema } from '../domain/signal.ts'
import { sizeSchema } from '../domain/size.ts'
import { lifeOptions, lifeView } from './container-life.ts'
import { askedLimits } from './container-limits.ts'
import { askedSecurity } from './container-security.ts'
import { flagSchema, waitSecondsSchema } from './paging.ts'

export const containerNameSchema = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, 'up to 63 letters, digits, dots, dashes and underscores')

/** The kernel would cut a text at its first NUL. */
const text = (limit: number) =>
  z
    .string()
    .max(limit)
    .refine(value => !value.includes('\0'), 'has a NUL character')
/** A record, or a list of `KEY=VALUE`, as in Compose files. */
const envSchema = z.union(
  [
    z.record(z.string().regex(/^[^=\0]+$/), text(128 * 1024)),
    z.array(text(128 * 1024).refine(entry => /^[^=]+=/.test(entry), 'KEY=VALUE')),
  ],
  'an object of strings, or a list of KEY=VALUE, without NUL characters',
)
const word = text(128 * 1024)
/** The kernel's highest uid is 2³² - 1, which means "none"; Docker takes half of that. */
const LAST_USER_ID = 2 ** 31 - 1
const userSchema = text(256).refine(
  user =>
    /^[^:]+(:[^:]+)?$/.test(user) && user.split(':').every(part => !/^\d+$/.test(part) || Number(part) <= LAST_USER_ID),
  `USER or USER:GROUP, by name or by a number up to ${LAST_USER_ID}`,
)

const said = <T extends z.ZodType>(schema: T, description: string) => schema.optional().meta({ description })

export const createContainerSchema = z.strictObject({
  image: text(600).min(1).meta({ description: 'repository[:tag] or repository@sha256:…' }),
  name: said(containerNameSchema, 'Unique; left out: from the image and the id.'),
  command: said(
    z.array(word).max(4096),
    "Docker's CMD: arguments of the entrypoint, or the program. Left out: the image's.",
  ),
  entrypoint: said(z.array(word).max(4096), "The program. Left out: the image's; an empty list: none."),
  env: said(envSchema, "An object of strings, or a list of KEY=VALUE; added to the image's."),
  workdir: said(text(4096).startsWith('/'), "An absolute path, made where it is missing. Left out: the image's, or /."),
  user: said(userSchema, "USER or USER:GROUP, names of the image or numbers. Left out: the image's, or root."),
  hostname: said(z.string().regex(/^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$/), 'Left out: the id.'),
  labels: said(z.record(text(1024).min(1), text(64 * 1024)), 'Kept with the container.'),
  ports: said(
    z.array(z.string()).max(1000),
    '[ADDRESS:]HOST:CONTAINER[/tcp|udp], such as 8080:80 or 127.0.0.1:5353:53/udp.',
  ),
  host: said(z.string().max(63), 'Id or name of the host. Left out: the ready one with the fewest containers.'),
  restart: said(
    z
      .string()
      .regex(/^(no|always|unless-stopped|on-failure(:\d{1,6})?)$/, 'no, always, unless-stopped or on-failure[:N]'),
    'no (the default), always, unless-stopped or on-failure[:N]: what happens when the program ends.',
  ),
  memory: said(sizeSchema, 'Bytes, or a number with k, m or g; at least 6m. No swap beyond it. Left out: no limit.'),
  cpus: said(z.number().min(0.01).max(1024), 'CPUs, in fractions. Left out: no limit.'),
  pidsLimit: said(z.int().min(1).max(4_194_304), 'Processes and threads.'),
  readOnly: said(z.boolean(), 'The root filesystem cannot be written.'),
  tty: said(z.boolean(), 'A terminal for the program; its output is stdout alone.'),
  stdin: said(z.boolean(), 'Left open for whoever attaches. Left out: empty.'),
  stdinOnce: said(z.boolean(), 'stdin ends when the first who attached says so, or leaves.'),
  ...askedLimits,
  ...askedSecurity,
  keepFor: said(
    durationSchema,
    'How long it is kept after its end, such as 24h: later its host may remove it when its disk fills. Left out: until it is removed.',
  ),
  start: said(z.boolean(), 'false: make it, do not start it.'),
  ...lifeOptions,
})
export type CreateContainer = z.infer<typeof createContainerSchema>

export const updateContainerSchema = createContainerSchema
  .omit({ name: true, ports: true, host: true, start: true, dependsOn: true })
  .partial()
  .extend({
    image: said(createContainerSchema.shape.image, 'Left out: the image of now, by its digest.'),
    signal: signalSchema
      .optional()
      .meta({ description: "What ends the run before. Left out: its image's stop signal." }),
    timeout: said(z.number().min(0).max(3600), "Seconds until SIGKILL. Left out: the container's, or 10."),
  })
  .strict()
export type UpdateContainer = z.infer<typeof updateContainerSchema>

export const CONTAINER_STATES = [
  ...['created', 'running', 'paused', 'restarting', 'exited', 'removing', 'dead', 'unknown'],
] as const
export const containerSchema = z.object({
  id: z.string(),
  name: z.string(),
  image: z.string(),
  imageDigest: z.string(),
  host: z.object({ id: z.string(), name: z.string(), state: z.string() }),
  state: z.enum(CONTAINER_STATES).meta({
    description:
      '`unknown`: its host has not been heard of for a while. `created` with an `error`: it could not start yet.',
  }),
  desired: z.enum(['created', 'running', 'paused', 'stopped', 'removed']),
  exitCode: z.int().optional(),
  error: faultSchema.optional(),
  restarts: z.int(),
  revision: z.int().meta({ description: 'How often it was updated' }),
  createdAt: z.iso.datetime(),
  startedAt: z.iso.datetime().optional(),
  finishedAt: z.iso.datetime().optional(),
  address: z.string(),
  ports: z.array(z.string()),
  entrypoint: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  env: z.array(z.string()),
  workdir: z.string().optional(),
  user: z.string().optional(),
  labels: z.record(z.string(), z.string()),
  restart: z.string(),
  hostname: z.string().optional(),
  /** Bytes. */
  memory: z.int().optional(),
  cpus: z.number().optional(),
  pidsLimit: z.int().optional(),
  readOnly: z.boolean(),
  tty: z.boolean(),
  stdin: z.boolean(),
  ...furtherLimitsSchema.shape,
  ...securitySchema.shape,
  seccomp: z
    .enum(['default', 'unconfined', 'custom'])
    .optional()
    .meta({ description: 'Left out: default. A profile of its own is not shown' }),
  keepFor: z.string().optional(),
  ...lifeView,
  size: containerSizeSchema
    .omit({ id: true })
    .optional()
    .meta({ description: 'What it takes on the disk in bytes, measured by its host about once a minute' }),
})
export type ContainerView = z.infer<typeof containerSchema>

/** States that a call can wait for; `stopped` is another word for `exited`, `healthy` is a running one whose check says so. */
export const WAIT_STATES = ['created', 'running', 'healthy', 'paused', 'exited', 'stopped', 'removed'] as const
export type WaitState = (typeof WAIT_STATES)[number]
export const waitQuerySchema = z.strictObject({ wait: z.enum(WAIT_STATES).optional(), timeout: waitSecondsSchema })

export const stopSchema = z.strictObject({
  signal: signalSchema.optional(),
  /** Seconds until SIGKILL; left out, the container's own. */
  timeout: z.number().min(0).max(3600).optional(),
})
export const renameSchema = z.strictObject({ name: containerNameSchema })
export const killSchema = z.strictObject({ signal: signalSchema.optional() })
export const removeQuerySchema = waitQuerySchema.extend({ force: flagSchema.optional() })

export const waitForContainerQuerySchema = z.strictObject({
  condition: z
    .enum(['not-running', 'next-exit', 'removed'])
    .default('not-running')
    .meta({ description: "Docker's: `next-exit` is the next end after the call, whatever it is now" }),
  timeout: waitSecondsSchema,
})
export const waitForContainerSchema = z.object({
  state: z.string(),
  exitCode: z.int().optional().meta({ description: 'Of its last end; known for a while after it is gone, too' }),
  oomKilled: z.boolean().optional(),
  error: faultSchema.optional(),
})

export const logsQuerySchema = z.strictObject({
  follow: flagSchema.optional(),
  tail: z
    .string()
    .regex(/^(all|\d{1,6})$/, 'all, or a number of lines')
    .optional(),
  /** RFC 3339, seconds since 1970, or how long ago: `90s`, `10m`, `1h30m`. */
  since: z.string().max(64).optional(),
  timestamps: flagSchema.optional(),
  stdout: flagSchema.optional(),
  stderr: flagSchema.optional(),
  /** `json`: one object a line, `{time, stream, text}`. */
  format: z.enum(['text', 'json']).default('text'),
})
