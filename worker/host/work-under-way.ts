/** Work that has begun and is not over: what it makes may have no name yet. */
export interface WorkUnderWay {
  begin(): Disposable
  /** When the oldest of it began (Unix milliseconds). */
  since(): number | undefined
}

export function workUnderWay(now: () => number): WorkUnderWay {
  /** In the order of their beginning. */
  const begun = new Map<symbol, number>()
  return {
    begin: () => {
      const work = Symbol('work')
      begun.set(work, now())
      return { [Symbol.dispose]: () => void begun.delete(work) }
    },
    since: () => begun.values().next().value,
  }
}
