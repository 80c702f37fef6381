import koffi, { type KoffiFunc, type LibraryHandle } from 'koffi'

/**
 * A shared library of the host's; undefined where it is not installed. `deep`: it calls its own functions, not those of
 * the same name that the Node program has in another version (zstd's).
 */
export function tryLoad(name: string): LibraryHandle | undefined {
  try {
    return koffi.load(name, { deep: true })
  } catch {
    return undefined
  }
}

/** Calls a function of a library beside the event loop. What its arguments point to must stay where it is meanwhile. */
export function callBeside<A extends unknown[], R>(native: KoffiFunc<(...args: A) => R>, ...args: A): Promise<R> {
  return new Promise((resolve, reject) => {
    native.async(...args, (error: unknown, result: R) => (error ? reject(error) : resolve(result)))
  })
}
