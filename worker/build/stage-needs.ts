import type { Stage } from '../dockerfile/stages.ts'

/** Which stages wait for which: names from variables can close a circle that nobody saw in the Dockerfile. */
export function openStageNeeds() {
  const needs = new Map<Stage, Set<Stage>>()
  const pathTo = (from: Stage, to: Stage, seen = new Set<Stage>()): Stage[] | undefined => {
    if (from === to) return [to]
    seen.add(from)
    for (const next of needs.get(from) ?? []) {
      const rest = seen.has(next) ? undefined : pathTo(next, to, seen)
      if (rest) return [from, ...rest]
    }
    return undefined
  }
  return {
    /** Before `own` waits for `other`. The circle that it would close, which ends with the stage that it begins with. */
    add: (own: Stage, other: Stage): Stage[] | undefined => {
      const back = pathTo(other, own)
      if (back) return [own, ...back]
      needs.set(own, (needs.get(own) ?? new Set()).add(other))
      return undefined
    },
  }
}
