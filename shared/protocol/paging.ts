import { z } from 'zod'

export const pageQuerySchema = z.strictObject({
  limit: z
    .string()
    .regex(/^\d{1,4}$/, 'a number from 1 to 1000')
    .transform(Number)
    .pipe(z.int().min(1).max(1000))
    .default(100),
  /** `nextCursor` of the page before. */
  cursor: z.string().max(500).optional(),
})
export type PageQuery = z.infer<typeof pageQuerySchema>

export function pageSchema<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), nextCursor: z.string().optional() })
}

/** `true`, `1` or nothing after the name means yes, as in `?force`. */
export const flagSchema = z.enum(['', '0', '1', 'false', 'true']).transform(text => text !== '0' && text !== 'false')

/** How long a call with `?wait=` may take, in seconds. */
export const waitSecondsSchema = z.coerce.number().min(0).max(300).default(30)
