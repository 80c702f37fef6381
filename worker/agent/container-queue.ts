import PQueue from 'p-queue'

/** Work on one container is one behind the other; different containers go side by side, at most eight. */
export interface ContainerQueue {
  /** Looks at a container soon. Asking while a look waits adds nothing; while one runs, one more follows. */
  look(id: string): void
  isBusy(id: string): boolean
  /** Resolves once nothing runs or waits. */
  idle(): Promise<void>
}

const SIDE_BY_SIDE = 8

export function createContainerQueue(work: (id: string) => Promise<void>): ContainerQueue {
  const queue = new PQueue({ concurrency: SIDE_BY_SIDE })
  const waiting = new Set<string>()
  const running = new Set<string>()
  const again = new Set<string>()
  const look = (id: string) => {
    if (running.has(id)) return void again.add(id)
    if (waiting.has(id)) return
    waiting.add(id)
    queue.add(() => begin(id)).catch(() => {}) // `work` reports its own failures.
  }
  const begin = async (id: string) => {
    waiting.delete(id)
    running.add(id)
    try {
      await work(id)
    } finally {
      running.delete(id)
      if (again.delete(id)) look(id)
    }
  }
  return { look, isBusy: id => waiting.has(id) || running.has(id), idle: () => queue.onIdle() }
}
