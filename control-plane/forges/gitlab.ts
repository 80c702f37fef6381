import { z } from 'zod'
import { beforeSchema, changedSchema, type ForgeEvent, type HeaderReader, moveOf, pathsOf } from './event.ts'

const pushSchema = z.object({
  object_kind: z.string(),
  ref: z.string().max(1024),
  before: beforeSchema,
  after: z.string().max(64).nullish(),
  /** The commit, where `after` of a tag is the tag's own object; null: the ref was deleted. */
  checkout_sha: z.string().max(64).nullish(),
  commits: z.array(changedSchema).nullish(),
  total_commits_count: z.number().nullish(),
  project: z.object({ path_with_namespace: z.string().max(512) }),
})

const PUSHES = new Set(['Push Hook', 'Tag Push Hook'])

/** GitLab's "Webhook events": push events and tag events. It lists twenty commits of a push. */
export function gitlabEvent(headers: HeaderReader, payload: unknown): ForgeEvent {
  const name = headers('x-gitlab-event') ?? 'unnamed'
  if (!PUSHES.has(name)) return { kind: 'other', name }
  const push = pushSchema.parse(payload)
  return {
    ...{ kind: 'push', ref: push.ref, commit: push.checkout_sha ?? undefined },
    ...{ repository: push.project.path_with_namespace },
    move: push.after ? moveOf(push.before, push.after) : undefined,
    paths: pathsOf(push.commits, push.total_commits_count ?? undefined),
  }
}
