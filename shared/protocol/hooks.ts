import { z } from 'zod'
import { hookFilterSchema, hookKindSchema, hookSpecSchema, statusTargetSchema } from '../domain/hook.ts'
import { isLevelOf, LEVEL_FAULT } from '../domain/layer-compression.ts'
import { secretNameSchema } from '../domain/secret.ts'
import { dockerfileOptions, gitAskedSchema, keptSecrets } from './builds.ts'

export const createHookSchema = z.strictObject({
  name: secretNameSchema,
  kind: hookKindSchema.meta({
    description: '`gitea` is for Forgejo, too; `signed` for whatever signs as docs/webhooks.md says',
  }),
  secret: z
    .string()
    .regex(/^[\x21-\x7e]{16,256}$/, '16 to 256 characters of ASCII without spaces')
    .optional()
    .meta({ description: 'What deliveries are signed with. Left out: one is made, and shown once' }),
  git: gitAskedSchema.omit({ ref: true }).strict(),
  on: hookFilterSchema.strict().default({}).meta({ description: 'Left out: every push to a branch' }),
  build: z
    .strictObject({ ...dockerfileOptions, secrets: keptSecrets, ssh: keptSecrets })
    .refine(isLevelOf, LEVEL_FAULT)
    .meta({
      description: 'As POST /v1/builds. Tags may have {branch}, {tag}, {commit} and {short}; secrets are kept ones',
    }),
  status: statusTargetSchema
    .partial({ api: true })
    .strict()
    .optional()
    .meta({ description: "Where builds are told as commit statuses; `api` is left out for a forge's usual place" }),
})
export type CreateHook = z.infer<typeof createHookSchema>

export const hookSchema = hookSpecSchema.extend({
  id: z.string(),
  name: z.string(),
  url: z.string().meta({ description: 'Where the forge sends its deliveries' }),
  createdAt: z.iso.datetime(),
})
export type HookView = z.infer<typeof hookSchema>
/** The secret is in this answer alone: the store has it sealed. */
export const createdHookSchema = hookSchema.extend({ secret: z.string() })

export const deliveryAnswerSchema = z.discriminatedUnion('result', [
  z.object({ result: z.literal('building'), build: z.string(), isRepeat: z.boolean() }),
  z.object({ result: z.literal('ignored'), reason: z.string() }),
  z.object({ result: z.literal('pong') }),
])
export type DeliveryAnswer = z.infer<typeof deliveryAnswerSchema>
