import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import type { Statement } from '../store/database.ts'
import { findIdempotencyKey, insertIdempotencyKey } from '../store/idempotency.ts'
import { uniqueViolation } from '../store/violations.ts'
import { hashToken, type Principal } from './principal.ts'

/** One request that creates: who sent it, and under which `Idempotency-Key`, if any. */
export interface Creation {
  principal: Principal
  key: string | undefined
  /** Method, path and body: what a repeat must be the same in. */
  request: string
}

export interface Created<T> {
  id: T
  isReplayed: boolean
}

/**
 * Runs `create` once for a key. `create` gets the statement that records the key and puts it into the batch that
 * creates, so that a repeat finds both or neither, whoever died in between; two repeats at once meet at its primary key.
 */
export async function createOnce<T extends string>(
  ports: Ports,
  creation: Creation,
  id: T,
  create: (record: Statement[]) => Promise<void>,
): Promise<Created<T>> {
  const { principal, key, request } = creation
  if (key === undefined) {
    await create([])
    return { id, isReplayed: false }
  }
  if (key.length < 1 || key.length > 255) {
    throw new SlipwayError('idempotency.key-invalid', 'An Idempotency-Key has 1 to 255 characters.')
  }
  const requestHash = await hashToken(request)
  const replay = async () => {
    const earlier = await findIdempotencyKey(ports.db, principal.tokenId, key)
    if (!earlier) return undefined
    if (earlier.requestHash === requestHash) return { id: earlier.subjectId as T, isReplayed: true }
    throw new SlipwayError(
      'idempotency.key-reused',
      'This Idempotency-Key was used for another request: send each new request with a key of its own.',
    )
  }
  const earlier = await replay()
  if (earlier) return earlier
  const row = { tokenId: principal.tokenId, key, requestHash, subjectId: id, createdAt: ports.clock.now() }
  try {
    await create([insertIdempotencyKey(ports.db, row)])
    return { id, isReplayed: false }
  } catch (error) {
    // The same request won the race: its name, port or key is what stood in our way.
    const winner = uniqueViolation(error) || error instanceof SlipwayError ? await replay() : undefined
    if (winner) return winner
    throw error
  }
}
