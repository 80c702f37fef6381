import type { BuildSecrets } from '#shared/domain/build.ts'
import { BUILD_LOG_LINE_LIMIT } from '#shared/protocol/agent.ts'
import type { LogLine } from '#shared/protocol/bus.ts'

/** Shorter ones would make holes in words that have nothing to do with them. */
const LEAST_LENGTH = 4

/** The values of secrets, each line of one for itself, the longer first: one may hold another. */
function hiddenIn({ secrets, ssh }: BuildSecrets): string[] {
  const lines = [...Object.values(secrets), ...Object.values(ssh)].flatMap(value => value.split(/\r?\n/))
  const hidden = [...new Set(lines.map(line => line.trim()))].filter(line => line.length >= LEAST_LENGTH)
  return hidden.sort((a, b) => b.length - a.length)
}

export interface MaskedLog {
  line(line: Pick<LogLine, 'stream' | 'text' | 'isPartial'>): void
  /** Writes what came without an end. */
  close(): void
}

/**
 * What a program prints, in whole lines and without the values of secrets: it is kept and shown. A line that comes in parts is
 * put together first, so that no value slips through in two. One longer than the log takes is cut, behind nothing that
 * could be the beginning of a value.
 */
export function openMaskedLog(
  given: BuildSecrets,
  write: (stream: LogLine['stream'], text: string) => void,
): MaskedLog {
  const hidden = hiddenIn(given)
  const masked = (text: string) => hidden.reduce((left, value) => left.replaceAll(value, '***'), text)
  const open = { stdout: '', stderr: '' }
  const held = hidden[0]?.length ?? 0
  const take = (stream: LogLine['stream'], isWhole: boolean) => {
    const text = masked(open[stream])
    const end = isWhole ? text.length : Math.max(0, text.length - held)
    open[stream] = text.slice(end)
    for (let at = 0; at === 0 || at < end; at += BUILD_LOG_LINE_LIMIT) {
      write(stream, text.slice(at, Math.min(end, at + BUILD_LOG_LINE_LIMIT)))
    }
  }
  return {
    line: ({ stream, text, isPartial }) => {
      open[stream] += text
      if (!isPartial) take(stream, true)
      else if (open[stream].length > BUILD_LOG_LINE_LIMIT + held) take(stream, false)
    },
    close: () => {
      for (const stream of ['stdout', 'stderr'] as const) if (open[stream] !== '') take(stream, true)
    },
  }
}
