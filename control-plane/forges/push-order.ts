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
