import { z } from 'zod'

/** Names in small letters. */
export type HeaderReader = (name: string) => string | undefined

/** What a push does to its ref, as the forge says it: commits, tags' own objects, or nothing (zeros). */
export interface Move {
  before: string
  after: string
}

export interface Push {
  kind: 'push'
  /** `refs/heads/…` or `refs/tags/…`. */
  ref: string
  /** What the ref is now; undefined: it was deleted. */
  commit: string | undefined
  /** As the forge calls the repository (`owner/name`, `group/subgroup/name`); ours does not say it. */
  repository: string | undefined
  /** Left out where it was not said: then the order in which pushes come is all there is. */
  move: Move | undefined
  /** Files that it changes, where the forge names all of them. */
  paths: string[] | undefined
}
export type ForgeEvent = Push | { kind: 'ping' } | { kind: 'other'; name: string }

export const beforeSchema = z.string().max(64).nullish()

export function moveOf(before: string | null | undefined, after: string): Move | undefined {
  return before ? { before, after } : undefined
}

/** A commit as pushes list it. */
export const changedSchema = z.object({
  added: z.array(z.string()).nullish(),
  removed: z.array(z.string()).nullish(),
  modified: z.array(z.string()).nullish(),
})

/** Undefined where the list may not be whole. */
export function pathsOf(commits: z.infer<typeof changedSchema>[] | null | undefined, total: number | undefined) {
  if (!commits || commits.length === 0 || (total !== undefined && total > commits.length)) return undefined
  return [
    ...new Set(
      commits.flatMap(({ added, removed, modified }) => [added, removed, modified].flatMap(list => list ?? [])),
    ),
  ]
}
