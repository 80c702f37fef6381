import type { BuildLogLine } from '#shared/protocol/agent.ts'

/**
 * Lines of a build's log as text, in their order from the first on: `#5 [build 2/4] RUN make`, `#5 0.412 line` with the
 * seconds since the step began, `#5 DONE 3.2s`. A line of the build as a whole has no number.
 */
export function plainLog(): (line: BuildLogLine) => string {
  const begun = new Map<number, number>()
  return ({ step, mark, at, stream, text }) => {
    if (step === undefined) return `${stream === 'step' ? '' : '  '}${text}\n`
    if (mark === 'begin') begun.set(step, at)
    const begin = begun.get(step)
    const isOutput = mark === undefined || mark === 'progress'
    const since = isOutput && begin !== undefined ? `${(Math.max(0, at - begin) / 1000).toFixed(3)} ` : ''
    return `#${step} ${since}${text.replaceAll('\n', `\n#${step} `)}\n`
  }
}
