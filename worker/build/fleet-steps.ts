import type { Digest } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { LogLines } from './build-log.ts'

/** What other hosts made of steps, as far as one build asks for it. */
export interface FleetSteps {
  /** Undefined where no host made it, or the API does not answer: no build waits for that long, and none fails. */
  find(key: string): Promise<StepResult | undefined>
  /** Whether a layer is known from another host alone: nobody said that it is here. */
  hasGiven(diffId: Digest): boolean
}

export const NO_FLEET: FleetSteps = { find: async () => undefined, hasGiven: () => false }

/** An answer brings steps that were built on the one asked for: a chain of cached steps costs one question, however far the API is. */
export function openFleetSteps(api: Pick<ControlPlane, 'findSteps'>, log: LogLines): FleetSteps {
  const told = new Map<string, StepResult>()
  const given = new Set<Digest>()
  let isAway = false
  const ask = async (key: string) => {
    try {
      for (const { key: other, result } of await api.findSteps(key)) told.set(other, result)
    } catch {
      if (!isAway) log.write('stderr', "The fleet's cache does not answer: steps are looked for on this host alone.")
      isAway = true
    }
  }
  return {
    find: async key => {
      if (!told.has(key) && !isAway) await ask(key)
      const result = told.get(key)
      if (result?.layer) given.add(result.layer.diffId)
      return result
    },
    hasGiven: diffId => given.has(diffId),
  }
}
