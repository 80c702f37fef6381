import { z } from 'zod'
import { attestationFields, attestationSchema } from '../domain/attestation.ts'
import {
  buildKindSchema,
  buildStateSchema,
  buildTriggerSchema,
  buildUpdateSchema,
  buildWarningSchema,
  ENTITLEMENTS,
  gitSourceSchema,
  urlSourceSchema,
} from '../domain/build.ts'
import { buildLimitsSchema, buildNeedsSchema } from '../domain/build-needs.ts'
import { cacheMountFields } from '../domain/cache-mount.ts'
import { faultSchema } from '../domain/container.ts'
import { labelsSchema } from '../domain/host.ts'
import { compressionFields, forceField, isLevelOf, LEVEL_FAULT } from '../domain/layer-compression.ts'
import { secretNameSchema } from '../domain/secret.ts'
import { waitSecondsSchema } from './paging.ts'

/** What changes no file (docs.docker.com/reference/cli/docker/container/commit, and what else a Dockerfile has of the kind). */
export const CHANGE_KEYWORDS = [
  ...['ARG', 'CMD', 'ENTRYPOINT', 'ENV', 'EXPOSE', 'HEALTHCHECK', 'LABEL', 'MAINTAINER', 'ONBUILD', 'SHELL'],
  ...['STOPSIGNAL', 'USER', 'VOLUME', 'WORKDIR'],
] as const
/** The builder reads the rest: this much is refused before a build is queued for it. A comment is none. */
const CHANGE = new RegExp(`^\\s*(?:#|(?:${CHANGE_KEYWORDS.join('|')})\\s)`, 'i')
const CHANGE_FAULT = `A change is an instruction of a Dockerfile that changes no file, such as CMD ["serve"]: ${CHANGE_KEYWORDS.join(', ')}`

const tags = z.array(z.string().max(600)).min(1).max(100)

/** As `docker commit` and `docker import` have them. */
const told = {
  tags,
  changes: z
    .array(
      z
        .string()
        .min(1)
        .max(64 * 1024)
        .regex(CHANGE, CHANGE_FAULT),
    )
    .max(100)
    .default([])
    .meta({
      description:
        'Instructions of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR and others that change no file',
    }),
  message: z.string().max(4096).optional(),
  author: z.string().max(4096).optional(),
  ...compressionFields,
}

export const commitSchema = z
  .strictObject({
    ...told,
    pause: z.boolean().default(true).meta({ description: 'Whether the container stands still meanwhile' }),
  })
  .refine(isLevelOf, LEVEL_FAULT)
export type Commit = z.infer<typeof commitSchema>

export const importSchema = z
  .strictObject({
    ...told,
    context: z.string().meta({ description: 'A context (POST /v1/contexts) whose tar is the root filesystem' }),
    host: z.string().optional(),
  })
  .refine(isLevelOf, LEVEL_FAULT)
export type Import = z.infer<typeof importSchema>

const VALUE_LIMIT = 128 * 1024
/** As `docker build` names them. */
const idSchema = z.string().regex(/^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,127}$/)
const secretValues = z
  .record(idSchema, z.union([z.string().min(1).max(VALUE_LIMIT), z.strictObject({ secret: secretNameSchema })]))
  .default({})
/** Of secrets that are kept, by name. */
export const keptSecrets = z.record(idSchema, z.strictObject({ secret: secretNameSchema })).default({})
const texts = z.record(z.string().min(1).max(1024), z.string().max(VALUE_LIMIT)).default({})

/** How a Dockerfile is built, wherever it comes from. */
export const dockerfileOptions = {
  /** Path of the Dockerfile inside the context. */
  dockerfile: z
    .string()
    .min(1)
    .max(1024)
    .refine(path => !path.startsWith('/') && !path.split('/').includes('..'), 'a path inside the context')
    .default('Dockerfile'),
  target: z.string().max(128).optional(),
  args: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().max(128 * 1024)).default({}),
  tags,
  noCache: z.boolean().default(false),
  labels: texts.meta({ description: 'Labels of the image; they win over those of the Dockerfile' }),
  annotations: texts.meta({ description: "Annotations of the image's manifest" }),
  allow: z
    .array(z.enum(ENTITLEMENTS))
    .max(ENTITLEMENTS.length)
    .default([])
    .meta({ description: 'What RUN --network=host and --security=insecure need besides the consent of the host' }),
  host: z.string().optional().meta({ description: 'Id or name of the host. Left out: any that fits, as it has room' }),
  ...buildNeedsSchema.shape,
  ...compressionFields,
  ...forceField,
  ...attestationFields,
  ...cacheMountFields,
  update: z.array(z.string().min(1).max(63)).max(20).default([]).meta({
    description:
      'Containers, by name or id, that are updated to the image once it is built (as POST /v1/containers/{container}/update does). One that is gone by then fails no build: see `updates`',
  }),
}

/** So many uploads make one context; then a whole one is due. */
export const CONTEXT_LAYERS = 16
const contextSchema = z.union([z.string(), z.array(z.string()).min(1).max(CONTEXT_LAYERS)])

export const gitAskedSchema = gitSourceSchema
  .extend({ submodules: z.boolean().default(false).meta({ description: 'Whether submodules are fetched, too' }) })
  .strict()

export const createBuildSchema = z
  .strictObject({
    context: contextSchema.optional().meta({
      description:
        'An uploaded context (POST /v1/contexts), or several that are laid over each other: the whole one first, then what changed since. An entry .wh.NAME of a later one takes NAME away',
    }),
    git: gitAskedSchema.optional().meta({ description: 'A repository, fetched by the host that builds' }),
    url: urlSourceSchema.strict().optional().meta({ description: 'A tar, fetched by the host that builds' }),
    ...dockerfileOptions,
    tags: z.array(z.string().max(600)).max(100).default([]).meta({ description: 'At least one, but for a check' }),
    check: z.boolean().default(false).meta({
      description:
        'As docker build --check: the Dockerfile is looked at and nothing built. The build succeeds without an image where there is no advice, and fails with build.warned, and `warnings`, where there is some',
    }),
    contexts: z.record(idSchema, z.string().min(1).max(1024)).default({}).meta({
      description:
        'Contexts besides the main one, by name, for FROM, COPY --from and RUN --mount: the id of an uploaded context, or docker-image://reference',
    }),
    secrets: secretValues.meta({
      description:
        'For RUN --mount=type=secret by id: a value, or {"secret": name} of one that is kept. Kept encrypted until the build ends; never shown again',
    }),
    ssh: secretValues.meta({
      description:
        'Private keys without a passphrase for RUN --mount=type=ssh by id (usually default); kept as secrets are',
    }),
  })
  .refine(
    ({ context, git, url }) => [context, git, url].filter(source => source !== undefined).length === 1,
    'name one source: context, git or url',
  )
  .refine(({ check, tags }) => check || tags.length > 0, {
    path: ['tags'],
    message: 'name one at least, or ask for a check alone',
  })
  .refine(({ check, update }) => !check || update.length === 0, {
    path: ['update'],
    message: 'a check builds nothing to update to',
  })
  .refine(isLevelOf, LEVEL_FAULT)
export type CreateBuild = z.infer<typeof createBuildSchema>

export const buildSchema = z.object({
  id: z.string(),
  state: buildStateSchema,
  host: z
    .object({ id: z.string(), name: z.string() })
    .optional()
    .meta({ description: 'The host that has it; none while it waits for one' }),
  waiting: z.string().optional().meta({ description: 'Why it has no host yet, in a sentence' }),
  attempts: z.int().meta({ description: 'How often a host began it' }),
  limits: buildLimitsSchema,
  constraints: labelsSchema.optional(),
  platform: z.string().optional(),
  kind: buildKindSchema.meta({ description: 'What the image is made of' }),
  context: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .meta({ description: 'As it was asked for' }),
  git: gitSourceSchema.optional(),
  url: urlSourceSchema.optional(),
  commit: z.string().optional().meta({ description: 'The commit that was built, once the build has ended' }),
  dockerfile: z.string().optional(),
  target: z.string().optional(),
  container: z.string().optional(),
  check: z.boolean().optional().meta({ description: 'It is a check: nothing is built' }),
  tags: z.array(z.string()),
  trigger: buildTriggerSchema.optional().meta({ description: 'The push that began it' }),
  imageDigest: z.string().optional(),
  updates: z
    .array(buildUpdateSchema)
    .optional()
    .meta({ description: 'The containers of `update`, once the image is built: ordered, or why not' }),
  warnings: z
    .array(buildWarningSchema)
    .optional()
    .meta({ description: 'Advice about the Dockerfile, once the build has ended' }),
  attestations: z
    .array(attestationSchema)
    .optional()
    .meta({ description: 'What was published beside the image: manifests that refer to it' }),
  error: faultSchema.optional(),
  createdAt: z.iso.datetime(),
  startedAt: z.iso.datetime().optional(),
  finishedAt: z.iso.datetime().optional(),
})
export type BuildView = z.infer<typeof buildSchema>

export const buildStepSchema = z.object({
  number: z.int().min(1),
  name: z.string(),
  state: z.enum(['running', 'cached', 'done', 'failed', 'canceled']),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().optional(),
  durationMs: z.int().min(0).optional(),
  error: z.string().optional(),
})
export type BuildStep = z.infer<typeof buildStepSchema>
export const buildStepsSchema = z.object({ steps: z.array(buildStepSchema) })

export const buildWaitQuerySchema = z.strictObject({
  wait: z.enum(['finished']).optional().meta({
    description:
      'The answer comes when the build has ended, however it did; 504 `request.timeout` before that: it goes on.',
  }),
  timeout: waitSecondsSchema,
})
