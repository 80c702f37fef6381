import { z } from 'zod'

/** A record whose keys are all right, or are named with what they should be: zod's own refusal says neither. */
export function namedRecord<T extends z.ZodType>(
  isRight: (key: string) => boolean,
  what: string,
  values: T,
  most: number,
) {
  return z.record(z.string(), values).superRefine((record, context) => {
    const keys = Object.keys(record)
    if (keys.length > most) context.addIssue({ code: 'custom', message: `at most ${most}` })
    for (const key of keys) {
      if (!isRight(key)) context.addIssue({ code: 'custom', path: [key], message: what })
    }
  })
}
