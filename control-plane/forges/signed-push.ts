import { z } from 'zod'
import { isCommitId } from '#shared/domain/git.ts'
import { type ForgeEvent, type HeaderReader, moveOf } from './event.ts'

const COMMIT_FORM = 'must be a whole commit id, 40 hexadecimal digits (SHA-256: 64)'

const pushSchema = z.strictObject({
  ref: z
    .string()
    .regex(/^refs\/(?:heads|tags)\/./, 'must be refs/heads/NAME or refs/tags/NAME')
    .max(1024),
  /** What the ref was, where that is known: a push that comes late is known by it. */
  before: z.string().refine(isCommitId, COMMIT_FORM).optional(),
  commit: z.string().refine(isCommitId, COMMIT_FORM),
  paths: z.array(z.string().max(4096)).max(100_000).optional(),
})

/** Our own form (docs/webhooks.md). */
export function signedEvent(_headers: HeaderReader, payload: unknown): ForgeEvent {
  const { ref, before, commit, paths } = pushSchema.parse(payload)
  return { kind: 'push', ref, commit, repository: undefined, move: moveOf(before, commit), paths }
}
