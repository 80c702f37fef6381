import { z } from 'zod'
import { digestSchema } from '../digest.ts'
import { containerSpecSchema, faultSchema } from './container.ts'
import { type BuildId, type ContainerId, type ContextId, idSchema } from './ids.ts'

export const BUILD_STATES = ['queued', 'running', 'succeeded', 'failed', 'canceled'] as const
export const buildStateSchema = z.enum(BUILD_STATES)
export type BuildState = z.infer<typeof buildStateSchema>

export const buildKindSchema = z.enum(['dockerfile', 'container', 'tar'])

/** `tags` are full references (`repository:tag`). */
const tags = z.array(z.string())
/** A tar, plain or compressed, in the blob store. */
const contextId = idSchema<ContextId>()
/** What an image that comes from no Dockerfile is told besides its files: a Dockerfile's instructions without files. */
const told = { changes: z.array(z.string()), message: z.string().optional(), author: z.string().optional() }

/** A context beside the main one (`docker build --build-context`): files of its own, or an image. */
export const namedContextSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('files'), contextId: idSchema<ContextId>() }),
  z.object({ kind: z.literal('image'), reference: z.string() }),
])
export type NamedContext = z.infer<typeof namedContextSchema>

/** What RUN may ask for only where the build and the host both allow it. */
export const ENTITLEMENTS = ['network.host', 'security.insecure'] as const

/** Values of secrets and private keys for ssh, by their ids. Never in a spec, a log, a cache's key or an image. */
export const buildSecretsSchema = z.object({
  secrets: z.record(z.string(), z.string()),
  ssh: z.record(z.string(), z.string()),
})
export type BuildSecrets = z.infer<typeof buildSecretsSchema>
export const NO_SECRETS: BuildSecrets = { secrets: {}, ssh: {} }

/** Advice about a Dockerfile, as `docker build --check` gives it. */
export const buildWarningSchema = z.object({
  rule: z.string(),
  message: z.string(),
  file: z.string(),
  line: z.int(),
  column: z.int(),
})
export type BuildWarning = z.infer<typeof buildWarningSchema>

/** What an image is made of. */
export const buildSpecSchema = z.discriminatedUnion('kind', [
  z.object({
    ...{ kind: z.literal('dockerfile'), tags, contextId },
    dockerfile: z.string().min(1).max(1024),
    target: z.string().optional(),
    args: z.record(z.string(), z.string()),
    noCache: z.boolean(),
    // Left out by what was stored before there were any.
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
    contexts: z.record(z.string(), namedContextSchema).default({}),
    allow: z.array(z.enum(ENTITLEMENTS)).default([]),
    /** `BuildSecrets`, sealed for the host (`shared/seal.ts`). Gone once the build has ended. */
    sealed: z.string().optional(),
  }),
  /** The files of a container of the same host, with the configuration that it was started with. */
  z.object({
    ...{ kind: z.literal('container'), tags, ...told },
    container: z.object({ id: idSchema<ContainerId>(), spec: containerSpecSchema }),
    /** It stands still while its files are read. */
    pauses: z.boolean(),
  }),
  /** A root filesystem. */
  z.object({ kind: z.literal('tar'), tags, contextId, ...told }),
])
export type BuildSpec = z.infer<typeof buildSpecSchema>
export type BuildSpecOf<Kind extends BuildSpec['kind']> = Extract<BuildSpec, { kind: Kind }>

export const desiredBuildSchema = z.object({
  id: idSchema<BuildId>(),
  generation: z.int().min(1),
  goal: z.enum(['built', 'canceled']),
  spec: buildSpecSchema,
})
export type DesiredBuild = z.infer<typeof desiredBuildSchema>

export const observedBuildSchema = z.discriminatedUnion('state', [
  z.object({ state: z.literal('running'), startedAt: z.int() }),
  z.object({
    ...{ state: z.literal('succeeded'), startedAt: z.int(), finishedAt: z.int(), imageDigest: digestSchema },
    warnings: z.array(buildWarningSchema).optional(),
  }),
  z.object({
    ...{ state: z.literal('failed'), startedAt: z.int(), finishedAt: z.int(), error: faultSchema },
    warnings: z.array(buildWarningSchema).optional(),
  }),
  z.object({ state: z.literal('canceled'), startedAt: z.int(), finishedAt: z.int() }),
])
export type ObservedBuild = z.infer<typeof observedBuildSchema>
