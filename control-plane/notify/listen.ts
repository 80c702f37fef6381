import type { Ports } from '../ports.ts'

/** Wakes a reader when a subject rings, or after a while anyway: rings may be lost and the bus may be down. */
export interface Listener extends AsyncDisposable {
  /** Resolves at the next ring (or one since the last call), after `timeoutMs`, or when `signal` aborts. */
  next(timeoutMs: number, signal?: AbortSignal): Promise<void>
}

/** A bus that takes longer has gone away: it is not waited for. */
const SUBSCRIBE_MS = 300

/** Subscribes before it returns, so that what is read afterwards cannot be changed without a ring. */
export async function listen(ports: Ports, subject: string): Promise<Listener> {
  const subscribing = ports.bus.subscribe(subject).catch(() => undefined)
  const isHere = new AbortController()
  await Promise.race([subscribing.then(() => isHere.abort()), ports.clock.sleep(SUBSCRIBE_MS, isHere.signal)])
  let hasRung = false
  let wake = () => {}
  const watch = async () => {
    for await (const _ of (await subscribing) ?? []) {
      hasRung = true
      wake()
    }
  }
  watch().catch(() => {}) // A bus that went away only makes the reader slower.
  const disposed = async () => {
    await (await subscribing)?.[Symbol.asyncDispose]()
  }
  return {
    next: async (timeoutMs, signal) => {
      if (!hasRung) {
        const ringing = new AbortController()
        wake = () => ringing.abort()
        await ports.clock.sleep(timeoutMs, signal ? AbortSignal.any([signal, ringing.signal]) : ringing.signal)
      }
      hasRung = false
    },
    [Symbol.asyncDispose]: async () => {
      await (isHere.signal.aborted ? disposed() : void disposed())
    },
  }
}
