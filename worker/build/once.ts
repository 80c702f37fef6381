/** Work that is done once for each key, however often it is asked for. */
export function once<K, V>(work: (key: K) => Promise<V>): (key: K) => Promise<V> {
  const begun = new Map<K, Promise<V>>()
  return key => {
    const known = begun.get(key)
    if (known) return known
    const result = work(key)
    begun.set(key, result)
    return result
  }
}
