import type { Digest } from '#shared/digest.ts'
import type { Garbage } from '#shared/protocol/garbage.ts'
import type { RetentionRule } from '#shared/protocol/retention.ts'
import type { Ports } from '../ports.ts'
import {
  type LinkPosition,
  type RemovedRow,
  type Slice,
  sliceOfBlobs,
  sliceOfLinks,
  sliceOfManifests,
} from '../store/garbage.ts'
import {
  countNeedlessLinks,
  deadBlobs,
  deadManifests,
  expiredTotals,
  type PreviewTerms,
} from '../store/garbage-preview.ts'
import { addRetained, addRows, FIRST, nothing } from './garbage-tally.ts'
import { collectBefore } from './grace.ts'
import { RETENTION_START, retentionStep } from './retention.ts'

/** Rows looked at in one statement. */
const ROWS = 1000
/** More than that do not fit into a statement's parameter. */
const MAX_LEAVING = 5000

/** How many more slices this request may take. */
interface Budget {
  steps: number
}

/**
 * What garbage collection would remove if it ran to its end now, under these rules of retention. Goes over the whole
 * store in slices, for at most `registrySteps` of them: then `isComplete` is false and the numbers are too low.
 */
export async function previewGarbage(ports: Ports, rules: readonly RetentionRule[]): Promise<Garbage> {
  const total = nothing(true)
  const budget = { steps: ports.config.registrySteps }
  const leaving = await previewRetention(ports, rules, budget, total)
  const terms = { before: collectBefore(ports), leaving }
  const { db } = ports
  for await (const slice of slices(budget, after => sliceOfManifests(db, after, ROWS))) {
    addRows(total.manifests, sorted(await deadManifests(db, slice, terms)))
  }
  for await (const slice of slices(budget, after => sliceOfBlobs(db, after, ROWS))) {
    addRows(total.blobs, sorted(await deadBlobs(db, slice, terms)))
  }
  total.links.count = await previewLinks(ports, terms, budget)
  total.uploads = await expiredTotals(db, ports.clock.now(), FIRST)
  total.isComplete = budget.steps > 0 && leaving.length < MAX_LEAVING
  return total
}

/** Adds what the rules would remove, and returns the manifests among it. */
async function previewRetention(ports: Ports, rules: readonly RetentionRule[], budget: Budget, total: Garbage) {
  const leaving: { repository: string; digest: Digest }[] = []
  for (let at = RETENTION_START; budget.steps > 0 && leaving.length < MAX_LEAVING; budget.steps--) {
    const step = await retentionStep(ports, rules, at, ROWS, true)
    if (!step) break
    const { repository, untagged } = step.found
    addRetained(total, step.found)
    leaving.push(...untagged.map(digest => ({ repository, digest })))
    at = step.next
  }
  return leaving.slice(0, MAX_LEAVING)
}

async function previewLinks(ports: Ports, terms: PreviewTerms, budget: Budget): Promise<number> {
  let count = 0
  let after: LinkPosition | undefined = { repository: '', digest: '' }
  for (; after && budget.steps > 0; budget.steps--) {
    const slice: Awaited<ReturnType<typeof sliceOfLinks>> = await sliceOfLinks(ports.db, after, ROWS)
    if (slice.last) count += await countNeedlessLinks(ports.db, after, slice.last, terms)
    after = slice.isLast ? undefined : slice.last
  }
  return count
}

/** The slices of a table one after the other, while the budget lasts. */
async function* slices(
  budget: Budget,
  next: (after: string) => Promise<{ last: string | undefined; isLast: boolean }>,
): AsyncGenerator<Slice> {
  for (let after = ''; budget.steps > 0; budget.steps--) {
    const { last, isLast } = await next(after)
    if (last === undefined) return
    yield { after, last }
    if (isLast) return
    after = last
  }
}

const sorted = (rows: RemovedRow[]) => rows.sort((one, other) => (one.digest < other.digest ? -1 : 1))
