import type { HookId } from '#shared/domain/ids.ts'
import type { Move, Push } from '../forges/event.ts'
import { isOvertaken, toBuildAgain } from '../forges/push-order.ts'
import type { Ports } from '../ports.ts'
import type { Statement } from '../store/database.ts'
import { insertPush, pushesOf } from '../store/hooks.ts'

/** So late a delivery may be and still be known for what it is. Longer would judge by pushes of which some never came. */
export const LATE_MS = 60 * 60_000
const PUSHES_LOOKED_AT = 200

/** Where a push stands among those of its ref that were taken. */
export interface PushPlace {
  /** Newer ones were: it is late. */
  isOvertaken: boolean
  position: number
  /**
   * If it is not built: what has to be built again, since an older push was taken for the newest until this one came. Costs the third
   * power of the pushes that are looked at.
   */
  toBuildAgain(): Move | undefined
}

export async function placeOf({ db, clock }: Ports, hookId: HookId, { ref, move }: Push): Promise<PushPlace> {
  if (!move) return { isOvertaken: false, position: 0, toBuildAgain: () => undefined }
  const since = clock.now() - LATE_MS
  const newestFirst = await pushesOf(db, hookId, ref, PUSHES_LOOKED_AT)
  const taken = newestFirst.filter(({ createdAt }) => createdAt > since).reverse()
  return {
    isOvertaken: isOvertaken(move, taken),
    position: (newestFirst[0]?.position ?? 0) + 1,
    // What a tag's own object stands for is not known any more: of branches alone a move says the commit.
    toBuildAgain: () =>
      ref.startsWith('refs/heads/') ? toBuildAgain([...taken, { ...move, isBuilt: false }]) : undefined,
  }
}

/** Goes into the batch of what is done about the push, and fails it where another of the ref was faster. */
export function placed(
  ports: Ports,
  hookId: HookId,
  { ref, move }: Push,
  position: number,
  isBuilt: boolean,
): Statement[] {
  if (!move) return []
  return [insertPush(ports.db, { hookId, ref, position, ...move, isBuilt, createdAt: ports.clock.now() })]
}
