import { setImmediate } from 'node:timers/promises'
import type { Hook } from './registry-world.ts'

export interface Turns {
  /** Decides whose call is next. */
  chance(): number
  tasks: readonly ((hook: Hook) => Promise<void>)[]
  /** Runs between two calls, while everyone waits. */
  afterCall(name: string): Promise<void>
}

interface Waiting {
  name: string
  go(): Promise<void>
}

/**
 * Runs tasks at once, but one hooked call at a time, in an order that `chance` decides alone: all wait at a call of
 * theirs (or have ended) before the next call is chosen. Throws what the first task or check throws.
 */
export async function takeTurns({ chance, tasks, afterCall }: Turns): Promise<void> {
  const queues = tasks.map((): Waiting[] => [])
  const open = new Set(tasks.keys())
  const failures: unknown[] = []
  tasks.forEach((task, at) => {
    task(hookOf(queues[at] ?? []))
      .catch(error => failures.push(error))
      .finally(() => open.delete(at))
  })
  for (;;) {
    await everyoneWaits(open, queues)
    for (const failure of failures) throw failure
    const next = queues.filter(queue => queue.length > 0)
    const queue = next[Math.floor(chance() * next.length)]
    const call = queue?.shift()
    if (!call) return
    await call.go()
    await afterCall(call.name)
  }
}

function hookOf(queue: Waiting[]): Hook {
  return (name, call) =>
    new Promise((resolve, reject) => {
      queue.push({ name, go: () => call().then(resolve, reject) })
    })
}

async function everyoneWaits(open: ReadonlySet<number>, queues: readonly Waiting[][]): Promise<void> {
  do await setImmediate()
  while ([...open].some(at => queues[at]?.length === 0))
}
