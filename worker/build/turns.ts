import { untilAborted } from './deadline.ts'

/** Runs work of one name one after the other. `hasWaited`: another one's came before, and may have done it. */
export interface Turns {
  /** Rejects once `signal` says so while it waits; work that has begun is waited for. */
  take<T>(name: string, work: (hasWaited: boolean) => Promise<T>, signal?: AbortSignal): Promise<T>
  isTaken(name: string): boolean
}

export function openTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return {
    take: (name, work, signal) => {
      const before = last.get(name)
      const turn = before && signal ? untilAborted(before, signal) : before
      const mine = turn ? turn.then(() => work(true)) : work(false)
      // One that gives up passes its turn on when it would have come.
      const settled = Promise.allSettled([before, mine]).finally(() => last.get(name) === settled && last.delete(name))
      last.set(name, settled)
      return mine
    },
    isTaken: name => last.has(name),
  }
}
