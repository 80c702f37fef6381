import { z } from 'zod'
import { digestSchema } from '../digest.ts'
import { attestationFields, attestationSchema } from './attestation.ts'
import { buildLimitsSchema } from './build-needs.ts'
import { cacheMountFields } from './cache-mount.ts'
import { containerSpecSchema, faultSchema } from './container.ts'
import { gitRefSchema, gitUrlSchema, subfolderSchema } from './git.ts'
import { type BuildId, type ContainerId, type ContextId, idSchema } from './ids.ts'
import { compressionFields, forceField } from './layer-compression.ts'
import { secretNameSchema } from './secret.ts'

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

/** A tar somewhere, plain or compressed with gzip or zstd. */
export const urlSourceSchema = z.object({
  url: z
    .url({ protocol: /^https?$/ })
    .max(2048)
    .refine(
      url => !URL.canParse(url) || new URL(url).password + new URL(url).username === '',
      'a URL without a password',
    ),
  /** Of the bytes as they come, in hex. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, '64 hex digits, small letters')
    .optional(),
})
export const gitSourceSchema = z.object({
  url: gitUrlSchema,
  /** Left out: what the server has as its default. */
  ref: gitRefSchema.optional(),
  subfolder: subfolderSchema.optional(),
  submodules: z.boolean(),
  /** The name of a secret: a token, `user:password`, or a private key for ssh. */
  secret: secretNameSchema.optional(),
})
export type GitSource = z.infer<typeof gitSourceSchema>

/** Where the files of a build come from. */
export const buildSourceSchema = z.discriminatedUnion('kind', [
  /** `over`: laid over it, each over the one before. */
  z.object({ kind: z.literal('context'), contextId, over: z.array(contextId).optional() }),
  gitSourceSchema.extend({ kind: z.literal('git') }),
  urlSourceSchema.extend({ kind: z.literal('url') }),
])
export type BuildSource = z.infer<typeof buildSourceSchema>
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
    ...{ kind: z.literal('dockerfile'), tags, source: buildSourceSchema },
    dockerfile: z.string().min(1).max(1024),
    target: z.string().optional(),
    args: z.record(z.string(), z.string()),
    noCache: z.boolean(),
    /** Advice alone: nothing is built, and there is no image. */
    check: z.boolean().optional(),
    // Left out by what was stored before there were any.
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
    contexts: z.record(z.string(), namedContextSchema).default({}),
    allow: z.array(z.enum(ENTITLEMENTS)).default([]),
    /** Whether the host has to ask for `BuildSecrets`. */
    hasSecrets: z.boolean().default(false),
    ...compressionFields,
    ...forceField,
    ...attestationFields,
    ...cacheMountFields,
    /** Containers, by name or id, that get the image once it is built. */
    update: z.array(z.string()).default([]),
  }),
  /** The files of a container of the same host, with the configuration that it was started with. */
  z.object({
    ...{ kind: z.literal('container'), tags, ...told, ...compressionFields },
    container: z.object({ id: idSchema<ContainerId>(), spec: containerSpecSchema }),
    /** It stands still while its files are read. */
    pauses: z.boolean(),
  }),
  /** A root filesystem. */
  z.object({ kind: z.literal('tar'), tags, contextId, ...told, ...compressionFields }),
])
export type BuildSpec = z.infer<typeof buildSpecSchema>
/** Kept secrets that the source of a build needs, by name. */
export function secretsOfBuild(spec: BuildSpec): string[] {
  if (spec.kind !== 'dockerfile' || spec.source.kind !== 'git') return []
  return spec.source.secret === undefined ? [] : [spec.source.secret]
}

export type BuildSpecOf<Kind extends BuildSpec['kind']> = Extract<BuildSpec, { kind: Kind }>

export const desiredBuildSchema = z.object({
  id: idSchema<BuildId>(),
  generation: z.int().min(1),
  goal: z.enum(['built', 'canceled']),
  spec: buildSpecSchema,
  limits: buildLimitsSchema.default({}),
})
export type DesiredBuild = z.infer<typeof desiredBuildSchema>

/** The commit that a git source was at, once that is known. */
const commit = z.string().max(64).optional()
const ended = { startedAt: z.int(), finishedAt: z.int(), commit }
export const observedBuildSchema = z.discriminatedUnion('state', [
  z.object({ state: z.literal('running'), startedAt: z.int() }),
  z.object({
    ...{ state: z.literal('succeeded'), ...ended },
    /** Left out by a check, which builds nothing. */
    imageDigest: digestSchema.optional(),
    warnings: z.array(buildWarningSchema).optional(),
    attestations: z.array(attestationSchema).max(8).optional(),
  }),
  z.object({
    ...{ state: z.literal('failed'), ...ended, error: faultSchema },
    warnings: z.array(buildWarningSchema).optional(),
  }),
  z.object({ state: z.literal('canceled'), ...ended }),
])
export type ObservedBuild = z.infer<typeof observedBuildSchema>

/** What became of a container that a build was to update. */
export const buildUpdateSchema = z.object({
  /** As the build names it. */
  container: z.string(),
  /** Why nothing was ordered. */
  error: faultSchema.optional(),
})
export type BuildUpdate = z.infer<typeof buildUpdateSchema>

/** The push that began a build. */
export const buildTriggerSchema = z.object({ hook: z.string(), ref: z.string(), commit: z.string() })
export type BuildTrigger = z.infer<typeof buildTriggerSchema>
