/** Work that runs side by side, and ends together. */
export interface Together {
  /** Aborted once any of it has failed, too. */
  signal: AbortSignal
  /** Begins something that nobody may wait for yet. Its failure is the failure of all. */
  begin<T>(work: () => Promise<T>): Promise<T>
  /** What ended all; undefined while nothing has failed. */
  firstFault(): unknown
}

/**
 * What `work` and all that it began come to: its result, or the error that was the first, once everything has ended. Nothing
 * goes on behind the back of who called.
 */
export async function together<T>(signal: AbortSignal, work: (all: Together) => Promise<T>): Promise<T> {
  const failing = new AbortController()
  const running = new Set<Promise<unknown>>()
  let first: { error: unknown } | undefined
  const fail = (error: unknown) => {
    first ??= { error }
    failing.abort()
  }
  const all: Together = {
    signal: AbortSignal.any([signal, failing.signal]),
    begin: one => {
      const result = one()
      running.add(result)
      result.catch(fail).finally(() => running.delete(result))
      return result
    },
    firstFault: () => first?.error,
  }
  const result = await all.begin(() => work(all)).catch(() => undefined)
  while (running.size > 0) await Promise.allSettled(running)
  if (first) throw first.error
  return result as T
}
