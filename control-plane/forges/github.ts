import { z } from 'zod'
import { beforeSchema, changedSchema, type ForgeEvent, type HeaderReader, moveOf, pathsOf } from './event.ts'
import { isNothing } from './push-order.ts'

/** GitHub lists so many commits of a push and no more. */
const COMMITS_LISTED = 2048

/** The parts of a push that GitHub, Gitea and Forgejo have in common. */
const pushSchema = z.object({
  ref: z.string().max(1024),
  before: beforeSchema,
  after: z.string().max(64),
  deleted: z.boolean().nullish(),
  forced: z.boolean().nullish(),
  /** Of a tag, too, where `after` may be the tag's own object. */
  head_commit: z.object({ id: z.string().max(64) }).nullish(),
  commits: z.array(changedSchema).nullish(),
  total_commits: z.number().nullish(),
  repository: z.object({ full_name: z.string().max(512) }),
})

/** GitHub's "Webhook events and payloads"; Gitea's and Forgejo's "Webhooks", whose headers bear their own name, too. */
export function githubEvent(headers: HeaderReader, payload: unknown): ForgeEvent {
  const name = headers('x-github-event') ?? headers('x-gitea-event') ?? headers('x-forgejo-event') ?? 'unnamed'
  if (name === 'ping') return { kind: 'ping' }
  if (name !== 'push') return { kind: 'other', name }
  const push = pushSchema.parse(payload)
  const isDeleted = push.deleted === true || isNothing(push.after)
  const commit = push.ref.startsWith('refs/tags/') ? (push.head_commit?.id ?? push.after) : push.after
  const isListedWhole = push.forced !== true && (push.commits?.length ?? 0) < COMMITS_LISTED
  return {
    ...{ kind: 'push', ref: push.ref, commit: isDeleted ? undefined : commit, repository: push.repository.full_name },
    move: moveOf(push.before, push.after),
    paths: isListedWhole ? pathsOf(push.commits, push.total_commits ?? undefined) : undefined,
  }
}
