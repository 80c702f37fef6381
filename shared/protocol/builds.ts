import { z } from 'zod'
import { buildStateSchema } from '../domain/build.ts'
import { faultSchema } from '../domain/container.ts'
import { waitSecondsSchema } from './paging.ts'

export const createBuildSchema = z.strictObject({
  context: z.string(),
  /** Path of the Dockerfile inside the context. */
  dockerfile: z
    .string()
    .min(1)
    .max(1024)
    .refine(path => !path.startsWith('/') && !path.split('/').includes('..'), 'a path inside the context')
    .default('Dockerfile'),
  target: z.string().max(128).optional(),
  args: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().max(128 * 1024)).default({}),
  tags: z.array(z.string().max(600)).min(1).max(100),
  noCache: z.boolean().default(false),
  host: z.string().optional(),
})
export type CreateBuild = z.infer<typeof createBuildSchema>

export const buildSchema = z.object({
  id: z.string(),
  state: buildStateSchema,
  host: z.object({ id: z.string(), name: z.string() }),
  context: z.string(),
  dockerfile: z.string(),
  target: z.string().optional(),
  tags: z.array(z.string()),
  imageDigest: z.string().optional(),
  error: faultSchema.optional(),
  createdAt: z.iso.datetime(),
  startedAt: z.iso.datetime().optional(),
  finishedAt: z.iso.datetime().optional(),
})
export type BuildView = z.infer<typeof buildSchema>

export const buildWaitQuerySchema = z.strictObject({
  wait: z.enum(['finished']).optional(),
  timeout: waitSecondsSchema,
})
