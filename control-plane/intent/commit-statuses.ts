import { SlipwayError } from '#shared/errors.ts'
import { statusCall } from '../forges/commit-status.ts'
import type { Ports } from '../ports.ts'
import { type CommitStatusRow, claimStatus, dueStatuses, releaseStatus } from '../store/commit-statuses.ts'
import { openSecrets } from './secrets.ts'

const PER_RUN = 20
/** A state may have changed while the one before was told. */
const ROUNDS = 3
/** Longer than a call's own deadline. */
const CLAIM_MS = 15_000
const FIRST_RETRY_MS = 10_000
/** Ten seconds, doubled each time: given up after about an hour and a half. */
const MAX_TRIES = 10
const ANSWER_SHOWN = 500

/**
 * Tells forges how builds go, as far as they do not know. Bounded, and done by one at a time for each build, so that a newer
 * state is never overtaken by an older one. What fails is noted and tried again by a sweep.
 */
export async function tellForges(ports: Ports): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const due = await dueStatuses(ports.db, ports.clock.now(), PER_RUN)
    if (due.length === 0) return
    await Promise.all(due.map(row => tellOne(ports, row)))
  }
}

async function tellOne(ports: Ports, row: CommitStatusRow): Promise<void> {
  const now = ports.clock.now()
  const retryAt = row.tries + 1 >= MAX_TRIES ? null : now + FIRST_RETRY_MS * 2 ** row.tries
  if (!(await claimStatus(ports.db, row, now + CLAIM_MS, retryAt))) return
  const error = await failureOf(ports, row)
  if (error !== undefined) ports.note('a commit status was not taken', { build: row.buildId, state: row.state, error })
  await releaseStatus(ports.db, row.buildId, row.state, error)
}

/** A sentence; undefined where the forge took it. */
async function failureOf(ports: Ports, { buildId, state, target }: CommitStatusRow): Promise<string | undefined> {
  try {
    const token = (await openSecrets(ports, [target.secret])).get(target.secret)?.trim() ?? ''
    if (token === '') return `secret ${target.secret} is blank: set it to a token of the forge`
    const link = `${ports.config.publicUrl}/v1/builds/${buildId}`
    const { url, headers, body } = statusCall(target, state, link, token)
    const { status, text } = await ports.forges.post(url, headers, body)
    if (status >= 200 && status < 300) return undefined
    // Hidden first: of a token that the cut goes through a part would stay.
    return `${new URL(url).host} answered ${status}: ${text.replaceAll(token, '***').slice(0, ANSWER_SHOWN)}`
  } catch (error) {
    if (error instanceof SlipwayError) return error.message
    throw error
  }
}
