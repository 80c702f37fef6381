import { SlipwayError } from '#shared/errors.ts'
import { SUBJECTS } from '#shared/protocol/bus.ts'
import { listen } from '../notify/listen.ts'
import type { Ports } from '../ports.ts'

/** Rings may be lost, so the store is read at least this often while somebody waits. */
const LOOK_EVERY_MS = 500

export interface Wait<T> {
  kind: 'container' | 'build' | 'host'
  id: string
  timeoutMs: number
  /** The answer, or what to say of the present state should time run out. */
  look(): Promise<{ done: T } | { now: string; why?: string | undefined }>
}

/**
 * Waits until `look` has an answer. Listening begins before the first look, so no change is missed between two looks.
 * Errors: `request.timeout` with the state at the deadline; what was asked for before stays asked.
 */
export async function waitFor<T>(ports: Ports, wait: Wait<T>): Promise<T> {
  await using listener = await listen(ports, SUBJECTS.changed(wait.kind, wait.id))
  const deadline = ports.clock.now() + wait.timeoutMs
  for (;;) {
    const seen = await wait.look()
    if ('done' in seen) return seen.done
    const leftMs = deadline - ports.clock.now()
    if (leftMs <= 0) {
      throw new SlipwayError(
        'request.timeout',
        `The ${wait.kind} is ${seen.now} after ${wait.timeoutMs / 1000} s${seen.why ? ` (${seen.why})` : ''}: it goes on. Look with GET /v1/${wait.kind}s/${wait.id}, or wait longer with ?timeout= (300 at most).`,
        { facts: { id: wait.id, state: seen.now } },
      )
    }
    await listener.next(Math.min(leftMs, LOOK_EVERY_MS))
  }
}
