import { z } from 'zod'

export const setSecretSchema = z.strictObject({
  value: z
    .string()
    .min(1)
    .max(64 * 1024)
    .meta({ description: 'Text; bytes that are not text go as base64, and whoever uses the secret decodes them' }),
})

/** A secret's value is in no answer. */
export const secretSchema = z.object({ name: z.string(), createdAt: z.iso.datetime(), updatedAt: z.iso.datetime() })
export type SecretView = z.infer<typeof secretSchema>
