import type { BuildId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import { BUILD_LOG_LINE_LIMIT, type BuildLogLine } from '#shared/protocol/agent.ts'
import type { ControlPlane } from '../agent/control-plane.ts'

/** A build's log on its way to the API, in batches, in the background: a slow API slows no build. */
export interface LogSender {
  send(line: BuildLogLine): void
  /** Resolves when everything so far is sent, or after ten seconds; more may follow. */
  flush(): Promise<void>
  /** Resolves when everything is sent, or after ten seconds. */
  close(): Promise<void>
}

const BATCH_LINES = 500
/** The store keeps a batch in one value, which may have 2 MB on D1. */
const BATCH_CHARS = 256 * 1024
const BATCH_MS = 100
const RETRY_MS = 1000
const CLOSE_MS = 10_000
const FLUSH_LOOK_MS = 20
/** Beyond these the API has been away for long and lines are dropped; how many is said. */
const PENDING_LINES = 50_000
const PENDING_CHARS = 64 * 1024 * 1024

/** `from`: lines that the log has already, of earlier attempts. */
export function openLogSender(
  id: BuildId,
  from: number,
  api: Pick<ControlPlane, 'appendBuildLog'>,
  clock: Clock,
): LogSender {
  const pending: BuildLogLine[] = []
  const over = new AbortController()
  let pendingChars = 0
  let sent = from
  let dropped = 0
  /** Nothing more comes: what waits for company goes at once. */
  const closing = new AbortController()
  const company = AbortSignal.any([over.signal, closing.signal])

  const sendAll = async () => {
    while (!over.signal.aborted) {
      if (pending.length === 0) {
        if (closing.signal.aborted) return
        await clock.sleep(BATCH_MS, company)
        continue
      }
      const lines = nextBatch(pending)
      const isSent = await api.appendBuildLog(id, { offset: sent, lines }).then(
        () => true,
        error => {
          if (isOthers(error)) over.abort()
          return false
        },
      )
      if (isSent) {
        pending.splice(0, lines.length)
        pendingChars -= lengthOf(lines)
        sent += lines.length
      }
      await (isSent ? clock.sleep(BATCH_MS, company) : clock.sleep(RETRY_MS, over.signal))
    }
  }
  const sending = sendAll()

  return {
    send: line => {
      if (pending.length >= PENDING_LINES || pendingChars >= PENDING_CHARS) {
        dropped++
        return
      }
      const kept = { ...line, text: line.text.slice(0, BUILD_LOG_LINE_LIMIT) }
      pending.push(kept)
      pendingChars += kept.text.length
    },
    flush: async () => {
      const until = clock.now() + CLOSE_MS
      while (pending.length > 0 && !over.signal.aborted && clock.now() < until) {
        await clock.sleep(FLUSH_LOOK_MS, over.signal)
      }
    },
    close: async () => {
      const text = `(${dropped} lines were dropped here)`
      if (dropped > 0) pending.push({ at: clock.now(), stream: 'stderr', text })
      closing.abort()
      await Promise.race([sending, clock.sleep(CLOSE_MS, over.signal)])
      over.abort()
    },
  }
}

/** The build is another host's by now, or gone: nobody takes these lines. */
function isOthers(error: unknown): boolean {
  return error instanceof SlipwayError && error.code === 'build.not-found'
}

function lengthOf(lines: readonly BuildLogLine[]): number {
  return lines.reduce((sum, { text }) => sum + text.length, 0)
}

/** At least one line, and no more than a batch takes. */
function nextBatch(pending: readonly BuildLogLine[]): BuildLogLine[] {
  let chars = 0
  const end = pending.findIndex((line, at) => {
    chars += line.text.length
    return at === BATCH_LINES || (at > 0 && chars > BATCH_CHARS)
  })
  return pending.slice(0, end === -1 ? pending.length : end)
}
