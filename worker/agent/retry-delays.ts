/** How long a container whose look failed is left alone: longer after each failure, until a look comes to its end. */
export interface RetryDelays {
  /** Counts one more failure and says how long to wait. */
  failed(id: string): number
  succeeded(id: string): void
}

const FIRST_MS = 250
const MAX_MS = 60_000

export function createRetryDelays(random: () => number): RetryDelays {
  const failures = new Map<string, number>()
  return {
    failed: id => {
      const count = failures.get(id) ?? 0
      failures.set(id, count + 1)
      // Jittered: what many containers failed of at once is not tried by all at once again.
      return Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(count, 20)) * (0.75 + random() / 2)
    },
    succeeded: id => void failures.delete(id),
  }
}
