import type { Logger } from 'pino'
import type { HostId } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { MessageBus } from '#shared/ports/message-bus.ts'
import { SUBJECTS } from '#shared/protocol/bus.ts'
import type { ControlPlane } from './control-plane.ts'
import type { DesiredCopy } from './desired-copy.ts'

export interface InboxOptions {
  api: ControlPlane
  bus: MessageBus
  clock: Clock
  log: Logger
  desired: DesiredCopy
  /** Containers that changed; `isFull` when the answer was everything. */
  onChange(ids: readonly string[], isFull: boolean): void
  signal: AbortSignal
}

const POLL_MS = 5000
/** With everything fetched anew this often, a delta that was lost in whatever way does not stay lost. */
const FULL_EVERY_MS = 5 * 60 * 1000

/** Fetches the desired state when the doorbell rings, and every few seconds anyway. Runs until the signal. */
export async function runInbox({ api, bus, clock, log, desired, onChange, signal }: InboxOptions): Promise<void> {
  let wake = () => {}
  let hasRung = false
  const ring = () => {
    hasRung = true
    wake()
  }
  let isListening = false
  const listen = async (hostId: HostId) => {
    await using doorbell = await bus.subscribe(SUBJECTS.hostDoorbell(hostId))
    signal.addEventListener('abort', () => void doorbell[Symbol.asyncDispose]())
    for await (const _ of doorbell) ring()
  }
  let fullAt = 0
  let failures = 0
  while (!signal.aborted) {
    hasRung = false
    try {
      const isFullDue = clock.now() - fullAt > FULL_EVERY_MS
      const answer = await api.desired(isFullDue ? undefined : desired.state()?.generation)
      if (failures > 0) log.info('the API answers again')
      failures = 0
      if (answer?.isFull) fullAt = clock.now()
      if (answer) onChange(await desired.merge(answer), answer.isFull)
    } catch (error) {
      failures++
      if (failures === 1) log.warn({ err: error }, 'the API does not answer; what is known goes on')
    }
    const hostId = desired.state()?.hostId
    if (hostId && !isListening) {
      isListening = true
      listen(hostId)
        .catch(() => {}) // No bus: polling is enough.
        .finally(() => (isListening = false))
    }
    if (hasRung && failures === 0) continue
    const ringing = new AbortController()
    wake = () => ringing.abort()
    await clock.sleep(POLL_MS * (0.75 + Math.random() / 2), AbortSignal.any([signal, ringing.signal]))
  }
}
