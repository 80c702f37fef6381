/** Tasks under one key run one after another, in the order in which they were asked for; those under others beside them. */
export type Turns = <T>(key: string, task: () => Promise<T>) => Promise<T>

export function turns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return (key, task) => {
    const result = (last.get(key) ?? Promise.resolve()).then(task)
    const over = result.then(ignore, ignore).then(() => {
      if (last.get(key) === over) last.delete(key)
    })
    last.set(key, over)
    return result
  }
}

function ignore(): void {}
