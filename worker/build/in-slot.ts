import type PQueue from 'p-queue'

/**
 * Work that has begun is over before this is, whatever the signal says: the queue alone rejects at once on an abort and leaves
 * what runs to itself, and what that made would be left behind by a build that is over.
 */
export async function inSlot<T>(slots: PQueue, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  let begun: Promise<T> | undefined
  const begin = () => {
    begun = work()
    return begun
  }
  try {
    return await slots.add(begin, { signal })
  } finally {
    await begun?.catch(() => {})
  }
}
