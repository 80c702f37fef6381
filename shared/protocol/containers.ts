import { z } from 'zod'
import { faultSchema, signalNameSchema } from '../domain/container.ts'
import { flagSchema, waitSecondsSchema } from './paging.ts'

export const containerNameSchema = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, 'up to 63 letters, digits, dots, dashes and underscores')

/** A record, or a list of `KEY=VALUE`, as in Compose files. */
const envSchema = z.union([
  z.record(z.string().regex(/^[^=\0]+$/), z.string()),
  z.array(z.string().regex(/^[^=\0]+=/, 'KEY=VALUE')),
])
const word = z.string().max(128 * 1024)
const sizeSchema = z.union([
  z.int().min(1),
  z.string().regex(/^\d+(\.\d+)?[bkmg]?$/i, 'bytes, or a number with k, m or g'),
])

export const createContainerSchema = z.object({
  image: z.string().min(1).max(600),
  name: containerNameSchema.optional(),
  command: z.array(word).max(4096).optional(),
  entrypoint: z.array(word).max(4096).optional(),
  env: envSchema.optional(),
  workdir: z.string().startsWith('/').max(4096).optional(),
  user: z.string().max(256).optional(),
  hostname: z
    .string()
    .regex(/^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$/)
    .optional(),
  labels: z.record(z.string().min(1), z.string()).optional(),
  /** `[ADDRESS:]HOST:CONTAINER[/tcp|udp]` */
  ports: z.array(z.string()).max(1000).optional(),
  /** Id or name of the host; left out: the emptiest one that fits. */
  host: z.string().optional(),
  restart: z
    .string()
    .regex(/^(no|always|unless-stopped|on-failure(:\d{1,6})?)$/, 'no, always, unless-stopped or on-failure[:N]')
    .optional(),
  memory: sizeSchema.optional(),
  cpus: z.number().min(0.01).max(1024).optional(),
  pidsLimit: z.int().min(1).max(4_194_304).optional(),
  readOnly: z.boolean().optional(),
  /** False: make it, do not start it. */
  start: z.boolean().optional(),
})
export type CreateContainer = z.infer<typeof createContainerSchema>

export const CONTAINER_STATES = [
  ...['created', 'running', 'paused', 'restarting', 'exited', 'removing', 'dead', 'unknown'],
] as const
export const containerSchema = z.object({
  id: z.string(),
  name: z.string(),
  image: z.string(),
  imageDigest: z.string(),
  host: z.object({ id: z.string(), name: z.string(), state: z.string() }),
  /** `unknown`: its host has not been heard of for a while. */
  state: z.string(),
  desired: z.enum(['created', 'running', 'paused', 'stopped', 'removed']),
  exitCode: z.int().optional(),
  error: faultSchema.optional(),
  restarts: z.int(),
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
})
export type ContainerView = z.infer<typeof containerSchema>

/** States that a call can wait for; `stopped` is another word for `exited`. */
export const WAIT_STATES = ['created', 'running', 'paused', 'exited', 'stopped', 'removed'] as const
export type WaitState = (typeof WAIT_STATES)[number]
export const waitQuerySchema = z.object({ wait: z.enum(WAIT_STATES).optional(), timeout: waitSecondsSchema })

const anySignal = z
  .string()
  .transform(text => (/^(SIG|\d)/i.test(text) ? text : `SIG${text}`).toUpperCase())
  .pipe(signalNameSchema)
export const stopSchema = z.object({
  signal: anySignal.optional(),
  /** Seconds until SIGKILL. */
  timeout: z.number().min(0).max(3600).optional(),
})
export const killSchema = z.object({ signal: anySignal.optional() })
export const removeQuerySchema = waitQuerySchema.extend({ force: flagSchema.optional() })

export const waitForContainerQuerySchema = z.object({
  condition: z.enum(['not-running', 'removed']).default('not-running'),
  timeout: waitSecondsSchema,
})
export const waitForContainerSchema = z.object({ state: z.string(), exitCode: z.int().optional() })

export const logsQuerySchema = z.object({
  follow: flagSchema.optional(),
  tail: z.union([z.literal('all'), z.coerce.number().int().min(0).max(1_000_000)]).optional(),
  /** RFC 3339, or seconds since 1970. */
  since: z.string().max(64).optional(),
  timestamps: flagSchema.optional(),
  stdout: flagSchema.optional(),
  stderr: flagSchema.optional(),
  /** `json`: one object a line, `{time, stream, text}`. */
  format: z.enum(['text', 'json']).default('text'),
})
