import { z } from 'zod'
import { durationSchema } from '../domain/duration.ts'

const repositoryPattern = z
  .string()
  .max(255)
  .regex(/^[a-z0-9*][a-z0-9*._/:-]*$/, 'a repository, with * for any characters')
const tagPattern = z
  .string()
  .max(128)
  .regex(/^[a-zA-Z0-9_*][a-zA-Z0-9_.*-]*$/, 'a tag, with * for any characters')

/** Strict: a rule without its mistyped bound would mean something else. */
export const retentionRuleSchema = z
  .strictObject({
    repositories: repositoryPattern.meta({ description: '`*` stands for any characters, slashes too' }),
    keepLast: z.int().min(0).max(100_000).optional().meta({
      description: 'This many tags stay, those that were set last; left out, every tag stays',
    }),
    keepTags: z.array(tagPattern).max(100).optional().meta({
      description: 'Patterns of tags that stay besides those; needs keepLast',
    }),
    untaggedAfter: durationSchema.optional().meta({
      description: 'A manifest that has had no tag for this long (24h, 7d) leaves the repository; left out, it stays',
    }),
  })
  .refine(rule => rule.keepTags === undefined || rule.keepLast !== undefined, {
    path: ['keepTags'],
    message: 'needs keepLast: how many other tags stay (0 for none)',
  })
export type RetentionRule = z.infer<typeof retentionRuleSchema>

/** In the order in which they are tried: the first that matches a repository decides, and no other. */
export const retentionSchema = z.strictObject({ rules: z.array(retentionRuleSchema).max(100) })
