/** Runs work of one name one after the other. `hasWaited`: another one's came before, and may have done it. */
export interface Turns {
  take<T>(name: string, work: (hasWaited: boolean) => Promise<T>): Promise<T>
}

export function openTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return {
    take: (name, work) => {
      const before = last.get(name)
      const mine = before ? before.then(() => work(true)) : work(false)
      const settled = mine.catch(() => {}).finally(() => last.get(name) === settled && last.delete(name))
      last.set(name, settled)
      return mine
    },
  }
}
