import { z } from 'zod'
import { digestSchema } from '../digest.ts'
import { COMPRESSIONS } from './layer-compression.ts'

/** A digest of everything that the files of a build's step depend on. */
export const stepKeySchema = z.string().regex(/^[0-9a-f]{64}$/)

/** What a step of a build gave, whichever host did it. */
export const stepResultSchema = z.object({
  /** ISO 8601. A cached step keeps its time, so that a build of cached steps gives the same image again. */
  created: z.iso.datetime(),
  /** Left out when the step changed no file. */
  layer: z
    .object({
      diffId: digestSchema,
      /** Of the tar in it. */
      unpackedBytes: z.int().min(0).optional(),
      digest: digestSchema,
      /** Of the blob (bytes). */
      size: z.int().min(0),
      /** Of the blob; left out: gzip. */
      compression: z.enum(COMPRESSIONS).optional(),
    })
    .optional(),
})
export type StepResult = z.infer<typeof stepResultSchema>
