import type { Move } from './event.ts'

export interface TakenMove extends Move {
  /** It was built, and not passed over by a filter. */
  isBuilt: boolean
}

/** What a ref is where it is not. */
export const isNothing = (commit: string) => /^0+$/.test(commit)

/**
 * Whether pushes that were taken already went on from where this one ends, to something that was built or to the ref's end:
 * then it is the older one, and late. Where they lead back to where it begins (a forced push to an earlier commit; a branch
 * that was made again) it may follow them as well, and counts as newer, as what cannot be told does. Pure.
 */
export function isOvertaken({ before, after }: Move, taken: readonly TakenMove[]): boolean {
  const seen = new Set<string>()
  const ahead = [after]
  let isOld = false
  for (let at = ahead.pop(); at !== undefined; at = ahead.pop()) {
    if (at === before) return false
    if (seen.has(at)) continue
    seen.add(at)
    for (const move of taken.filter(one => one.before === at)) {
      isOld ||= move.isBuilt || isNothing(move.after)
      ahead.push(move.after)
    }
  }
  return isOld
}

/**
 * What is to be built again once a push is known that joins others: of pushes that came in as newest, oldest, middle, the oldest could
 * not be told from a new one and was built last; the middle one shows which is the newest. Undefined where the last one built is not
 * known to be old. `taken` is in the order of arrival. Pure.
 */
export function toBuildAgain(taken: readonly TakenMove[]): TakenMove | undefined {
  const last = taken.findLast(({ isBuilt }) => isBuilt)
  if (!last || !isOvertaken(last, taken)) return undefined
  return taken.findLast(
    move => move.isBuilt && !isOvertaken(move, taken) && isOvertaken(last, [...passedOver(taken), move]),
  )
}

const passedOver = (taken: readonly TakenMove[]) =>
  taken.filter(({ after }) => !isNothing(after)).map(move => ({ ...move, isBuilt: false }))
