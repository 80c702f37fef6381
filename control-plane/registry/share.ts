/** Runs `work`, or waits for the one of the same key that runs already: its result or its error is everybody's. */
export type Share = <T>(key: string, work: () => Promise<T>) => Promise<T>

/**
 * For one process on Node, for one request on workerd, where requests must not wait for each other's I/O. A key stands
 * for one kind of result.
 */
export function openShare(): Share {
  const underWay = new Map<string, Promise<unknown>>()
  return <T>(key: string, work: () => Promise<T>): Promise<T> => {
    const begun = underWay.get(key) as Promise<T> | undefined
    if (begun) return begun
    const run = work().finally(() => underWay.delete(key))
    underWay.set(key, run)
    return run
  }
}
