import type { DesiredBuild, ObservedBuild } from '#shared/domain/build.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import type { ClaimedBuild } from '#shared/protocol/agent.ts'
import type { ControlPlane } from './control-plane.ts'
import type { DesiredCopy } from './desired-copy.ts'
import type { Reporter } from './reporter.ts'

export interface BuildRunner {
  /** Begins builds of this host that do not run, cancels those that are to be canceled, drops those that are its own no more. */
  look(): void
  /**
   * Asks for a build, the next that fits or this one, and begins it; what is under way here already, or has just ended, is not
   * asked for. False: there is none for this host now. Errors: the API's.
   */
  take(id?: BuildId): Promise<boolean>
  hasRoom(): boolean
  /** Calls each time a build ends, until it is disposed of. */
  onEnd(listener: () => void): Disposable
  idle(): Promise<void>
}

export interface BuildRunnerOptions {
  desired: Pick<DesiredCopy, 'state' | 'takeBuild'>
  reporter: Pick<Reporter, 'build' | 'lastOf'>
  api: Pick<ControlPlane, 'claimBuild' | 'releaseBuild'>
  /** Never throws: how it ended is its result. */
  build(claimed: ClaimedBuild, signal: AbortSignal): Promise<ObservedBuild>
  now(): number
  /** Builds that run at the same time. */
  atOnce: number
  signal: AbortSignal
}

/**
 * `claiming`: the API is asked whether it is this host's to begin. `refused`: it is not, or not now. `lost`: another host has
 * it, and what is under way here ends without a word.
 */
interface Entry {
  state: 'claiming' | 'running' | 'refused' | 'over' | 'lost'
  stop: AbortController
  /** When one that was refused may be asked for again. */
  retryAt: number
  /** Nothing of it is under way any more. */
  whole: Promise<void>
}

const RETRY_MS = 5000

/**
 * Builds run in the background, some at a time. None begins without a claim, which the API counts: one that a dead agent left
 * is claimed again, and its steps are in the cache.
 */
export function createBuildRunner(options: BuildRunnerOptions): BuildRunner {
  const { desired, reporter, api, build, now, atOnce, signal } = options
  const entries = new Map<BuildId, Entry>()
  const working = new Set<Promise<void>>()
  let asking = 0
  const endListeners = new Set<() => void>()
  const busy = () => [...entries.values()].filter(({ state }) => state !== 'over' && state !== 'refused').length
  const hasRoom = () => busy() + asking < atOnce

  const run = async (claimed: ClaimedBuild, entry: Entry) => {
    const { id } = claimed.build
    entry.state = 'running'
    reporter.build(id, { state: 'running', startedAt: now() })
    const observed = await build(claimed, AbortSignal.any([signal, entry.stop.signal]))
    if (signal.aborted) return leave(id, observed)
    if (isLost(entry)) drop(id, entry)
    else {
      entry.state = 'over'
      reporter.build(id, observed)
    }
  }
  /**
   * An agent that stops gives the build back; where the API is away it stays its own, for the next life. One whose image was published
   * at that moment is whole, and not to be built again.
   */
  const leave = async (id: BuildId, observed: ObservedBuild) => {
    try {
      if (observed.state === 'succeeded') return await reporter.lastOf(id, observed)
    } catch {
      // Then the next attempt tells: its steps are all in the cache.
    }
    await api.releaseBuild(id).catch(() => {})
  }
  const claimOwn = async (id: BuildId, entry: Entry) => {
    // The API may be away, or know better: a look asks again after a while, should it still be asked for then.
    const claimed = await api.claimBuild(id).catch(() => undefined)
    if (entry.stop.signal.aborted) return cancelUnbegun(id, entry)
    if (claimed) return run(claimed, entry)
    entry.state = 'refused'
    entry.retryAt = now() + RETRY_MS
  }
  const cancelUnbegun = (id: BuildId, entry: Entry) => {
    if (isLost(entry)) return drop(id, entry)
    entry.state = 'over'
    if (!signal.aborted) reporter.build(id, { state: 'canceled', startedAt: now(), finishedAt: now() })
  }
  /** Another claim of the same build may stand there by now. */
  const drop = (id: BuildId, entry: Entry) => {
    if (entries.get(id) === entry) entries.delete(id)
  }
  const newEntry = (state: Entry['state']): Entry => {
    return { state, stop: new AbortController(), retryAt: 0, whole: Promise.resolve() }
  }
  const track = (entry: Entry, work: Promise<void>) => {
    entry.whole = work
    const tracked = work.finally(() => {
      working.delete(tracked)
      for (const listener of endListeners) listener()
      look()
    })
    working.add(tracked)
  }
  const begin = (id: BuildId) => {
    const entry = newEntry('claiming')
    entries.set(id, entry)
    track(entry, claimOwn(id, entry))
  }
  const cancel = (id: BuildId) => {
    const entry = entries.get(id) ?? newEntry('refused')
    entries.set(id, entry)
    entry.stop.abort()
    if (entry.state === 'refused') cancelUnbegun(id, entry)
  }
  const lookAt = ({ id, goal }: DesiredBuild) => {
    if (goal === 'canceled') cancel(id)
    // A claim that is under way may be of this build.
    else if (isFree(id) && asking === 0 && hasRoom()) begin(id)
  }
  const isFree = (id: BuildId) => {
    const entry = entries.get(id)
    return !entry || (entry.state === 'refused' && now() >= entry.retryAt)
  }
  const dropLost = (asked: ReadonlySet<BuildId>) => {
    for (const [id, entry] of entries) {
      if (asked.has(id)) continue
      if (entry.state === 'over' || entry.state === 'refused') entries.delete(id)
      else {
        entry.state = 'lost'
        entry.stop.abort()
      }
    }
  }
  const look = () => {
    if (signal.aborted) return
    const builds = desired.state()?.builds ?? []
    dropLost(new Set(builds.map(({ id }) => id)))
    for (const wanted of builds) lookAt(wanted)
  }
  /** A message may come late, or twice: the API would give this host its own build once more. */
  const isHere = (id: BuildId) => ['claiming', 'running', 'over'].includes(entries.get(id)?.state ?? '')
  const take = async (id?: BuildId): Promise<boolean> => {
    if (signal.aborted) return false // What is given back now is for others.
    if (id !== undefined && isHere(id)) return true
    asking++
    try {
      const claimed = await api.claimBuild(id)
      if (!claimed) return false
      desired.takeBuild(claimed.build)
      const entry = newEntry('running')
      // It may have been this host's before: what is left of that unwinds first.
      const before = entries.get(claimed.build.id)?.whole
      entries.set(claimed.build.id, entry)
      track(
        entry,
        Promise.resolve(before).then(() => run(claimed, entry)),
      )
      return true
    } finally {
      asking--
    }
  }
  return {
    look,
    take,
    hasRoom,
    onEnd: listener => {
      endListeners.add(listener)
      return { [Symbol.dispose]: () => void endListeners.delete(listener) }
    },
    idle: async () => {
      while (working.size > 0) await Promise.all(working)
    },
  }
}

/** Apart, since it changes while others wait. */
function isLost(entry: Entry): boolean {
  return entry.state === 'lost'
}
