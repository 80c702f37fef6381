import { z } from 'zod'
import { isCommitId } from '#shared/domain/git.ts'
import { type ForgeEvent, type HeaderReader, moveOf } from './event.ts'

const pushSchema = z.strictObject({
  ref: z
    .string()
    .regex(/^refs\/(?:heads|tags)\/./, 'refs/heads/… or refs/tags/…')
    .max(1024),
  /** What the ref was, where that is known: a push that comes late is known by it. */
  before: z.string().refine(isCommitId, 'a whole commit id').optional(),
  commit: z.string().refine(isCommitId, 'a whole commit id'),
  paths: z.array(z.string().max(4096)).max(100_000).optional(),
})

/** Our own form (docs/webhooks.md). */
export function signedEvent(_headers: HeaderReader, payload: unknown): ForgeEvent {
  const { ref, before, commit, paths } = pushSchema.parse(payload)
  return { kind: 'push', ref, commit, repository: undefined, move: moveOf(before, commit), paths }
}
