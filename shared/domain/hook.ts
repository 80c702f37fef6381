import { z } from 'zod'
import { attestationFields } from './attestation.ts'
import { ENTITLEMENTS, gitSourceSchema } from './build.ts'
import { buildNeedsSchema } from './build-needs.ts'
import { cacheMountFields } from './cache-mount.ts'
import { compressionFields, forceField } from './layer-compression.ts'
import { secretNameSchema } from './secret.ts'

export const hookKindSchema = z.enum(['github', 'gitlab', 'gitea', 'signed'])
export type HookKind = z.infer<typeof hookKindSchema>

/** `*` is any characters of one name, `**` of any number of names, `?` is one; with `!` before it takes out what earlier ones let in. */
const patterns = z.array(z.string().min(1).max(255)).max(50)

/** Which pushes are built. */
export const hookFilterSchema = z.object({
  branches: patterns.optional(),
  tags: patterns.optional(),
  /** Of files that a push to a branch changes. */
  paths: patterns.optional(),
})
export type HookFilter = z.infer<typeof hookFilterSchema>

/** Where the state of a build is told, and with which token. */
export const statusTargetSchema = z.object({
  /** The name of a secret: the forge's token. */
  secret: secretNameSchema,
  /** The forge's API, without a slash at the end. */
  api: z.url({ protocol: /^https?$/ }).max(1024),
})
export type StatusTarget = z.infer<typeof statusTargetSchema>

const texts = z.record(z.string(), z.string())
/** By the ids that the Dockerfile has for them. */
const secretNames = z.record(z.string(), z.object({ secret: secretNameSchema }))

export const hookSpecSchema = z.object({
  kind: hookKindSchema,
  git: gitSourceSchema.omit({ ref: true }),
  on: hookFilterSchema,
  build: z.object({
    dockerfile: z.string(),
    target: z.string().optional(),
    args: z.record(z.string(), z.string()),
    noCache: z.boolean(),
    labels: texts,
    annotations: texts,
    allow: z.array(z.enum(ENTITLEMENTS)),
    ...compressionFields,
    ...forceField,
    ...attestationFields,
    ...cacheMountFields,
    // Left out by hooks that were made before there was any.
    update: z.array(z.string()).default([]),
    secrets: secretNames,
    ssh: secretNames,
    host: z.string().optional(),
    ...buildNeedsSchema.shape,
    /** With `{branch}`, `{tag}`, `{commit}` and `{short}` to be filled in. */
    tags: z.array(z.string()),
  }),
  status: statusTargetSchema.optional(),
})
export type HookSpec = z.infer<typeof hookSpecSchema>

/** Which commit's status a build is, kept with the build: it is told to the end, whatever becomes of its hook. */
export interface CommitStatusTarget {
  kind: Exclude<HookKind, 'signed'>
  api: string
  /** The name of the secret with the token. */
  secret: string
  /** As the forge calls it. */
  repository: string
  commit: string
  /** Tells ours from others of the same commit. */
  context: string
}
