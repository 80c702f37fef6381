import type { Garbage, Removed } from '#shared/protocol/garbage.ts'
import type { RemovedRow } from '../store/garbage.ts'
import type { Retained } from './retention.ts'

/** Adds up what a run removes, or would remove. */

/** Examples that an answer names. */
export const FIRST = 20

export function nothing(dryRun: boolean): Garbage {
  const none = (): Removed => ({ count: 0, bytes: 0, first: [] })
  return {
    ...{ dryRun, isComplete: true, tags: { count: 0, first: [] }, untagged: { count: 0, first: [] } },
    ...{ manifests: none(), blobs: none(), uploads: none(), links: { count: 0 }, objects: { count: 0 } },
  }
}

export function addRetained(total: Garbage, { repository, tags, untagged }: Retained): void {
  count(
    total.tags,
    tags.map(tag => `${repository}:${tag}`),
  )
  count(
    total.untagged,
    untagged.map(digest => `${repository}@${digest}`),
  )
}

export function addRows(to: Removed, rows: readonly RemovedRow[]): void {
  for (const { digest, size } of rows) add(to, [digest], size)
}

export function add(to: Removed, names: readonly string[], bytes: number): void {
  count(to, names)
  to.bytes += bytes
}

function count(to: { count: number; first: string[] }, names: readonly string[]): void {
  to.count += names.length
  to.first.push(...names.slice(0, FIRST - to.first.length))
}
