import { z } from 'zod'
import { isCommitId } from '#shared/domain/git.ts'
import type { ForgeEvent, HeaderReader } from './event.ts'

const pushSchema = z.strictObject({
  ref: z
    .string()
    .regex(/^refs\/(?:heads|tags)\/./, 'refs/heads/… or refs/tags/…')
    .max(1024),
  commit: z.string().refine(isCommitId, 'a whole commit id'),
  paths: z.array(z.string().max(4096)).max(100_000).optional(),
})

/** Our own form (docs/webhooks.md). */
export function signedEvent(_headers: HeaderReader, payload: unknown): ForgeEvent {
  const { ref, commit, paths } = pushSchema.parse(payload)
  return { kind: 'push', ref, commit, repository: undefined, paths }
}
