import type { HookId } from '#shared/domain/ids.ts'
import type { Push } from '../forges/event.ts'
import { isOvertaken } from '../forges/push-order.ts'
import type { Ports } from '../ports.ts'
import type { Statement } from '../store/database.ts'
import { insertPush, pushesOf } from '../store/hooks.ts'
import { uniqueViolation } from '../store/violations.ts'

/** So late a delivery may be and still be known for what it is. Longer would judge by pushes of which some never came. */
export const LATE_MS = 60 * 60_000
const PUSHES_LOOKED_AT = 200
const RACES = 5

/** Where a push stands among those of its ref that were taken. */
export interface PushPlace {
  /** Newer ones were: it is late. */
  isOvertaken: boolean
  position: number
}

export async function placeOf({ db, clock }: Ports, hookId: HookId, { ref, move }: Push): Promise<PushPlace> {
  if (!move) return { isOvertaken: false, position: 0 }
  const since = clock.now() - LATE_MS
  const taken = await pushesOf(db, hookId, ref, PUSHES_LOOKED_AT)
  const late = isOvertaken(
    move,
    taken.filter(({ createdAt }) => createdAt > since),
  )
  return { isOvertaken: late, position: (taken[0]?.position ?? 0) + 1 }
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

/** That a push came which is not built: later judgements go through it. */
export async function notePassedOver(ports: Ports, hookId: HookId, push: Push): Promise<void> {
  if (!push.move) return
  for (let race = 0; race < RACES; race++) {
    const { position } = await placeOf(ports, hookId, push)
    try {
      for (const statement of placed(ports, hookId, push, position, false)) await ports.db.batch([statement])
      return
    } catch (error) {
      if (!uniqueViolation(error)) throw error
    }
  }
}
