import { z } from 'zod'
import { scopeSchema } from '../domain/repository.ts'

export const createTokenSchema = z.strictObject({
  name: z.string().min(1).max(100),
  scopes: z.array(scopeSchema).min(1).max(100).optional().meta({
    description:
      "For the registry alone: `repository:PATTERN:pull,push,delete`, `*` for any characters. Left out: an operator's token",
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
