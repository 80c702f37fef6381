import { z } from 'zod'

export const createTokenSchema = z.strictObject({ name: z.string().min(1).max(100) })
export const tokenSchema = z.object({
  id: z.string(),
  name: z.string(),
  hostId: z.string().optional(),
  createdAt: z.iso.datetime(),
})
export type TokenView = z.infer<typeof tokenSchema>
/** The token itself is in this answer alone: only its hash is kept. */
export const createdTokenSchema = tokenSchema.extend({ token: z.string() })
