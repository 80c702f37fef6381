import { z } from 'zod'

export const eventSchema = z.object({
  seq: z.int(),
  at: z.iso.datetime(),
  /** `container.start`, `build.succeeded`, `host.join`… */
  type: z.string(),
  subjectId: z.string(),
  data: z.record(z.string(), z.unknown()),
})
export type EventView = z.infer<typeof eventSchema>
