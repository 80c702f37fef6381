import { z } from 'zod'
import { containerScopeSchema } from '../domain/api-scope.ts'
import { scopeSchema } from '../domain/repository.ts'

export const createTokenSchema = z.strictObject({
  name: z.string().min(1).max(100),
  scopes: z
    .array(z.union([containerScopeSchema, scopeSchema]))
    .min(1)
    .max(100)
    .optional()
    .meta({
      description:
        "For the registry `repository:PATTERN:pull,push,delete`, `*` for any characters; for containers `containers`, and `containers:privileged` or `containers:secrets` for what those say. Left out: an operator's token, for everything",
    }),
})
export const tokenSchema = z.object({
  id: z.string(),
  name: z.string(),
  hostId: z.string().optional(),
  scopes: z.array(z.string()).optional(),
  createdAt: z.iso.datetime(),
})
export type TokenView = z.infer<typeof tokenSchema>
/** The token itself is in this answer alone: only its hash is kept. */
export const createdTokenSchema = tokenSchema.extend({ token: z.string() })
