import type { BuildLogLine } from '#shared/protocol/agent.ts'
import type { BuildStep } from '#shared/protocol/builds.ts'
import type { Ports } from '../ports.ts'
import { stepLines } from '../store/builds.ts'
import { isFinished, requireBuild } from './build-view.ts'

/** Beginnings and ends. */
const LINES_LIMIT = 10_000

/** The steps of a build as its log tells them, in the order of their beginnings. Errors: `build.not-found`. */
export async function readBuildSteps(ports: Ports, id: string): Promise<BuildStep[]> {
  const { build } = await requireBuild(ports, id)
  return stepsOf(await stepLines(ports.db, build.id, LINES_LIMIT), isFinished(build.state))
}

/**
 * A step without an end was left by an agent that died, once its build has ended or begins again: steps of one attempt have
 * other numbers than those of the next. Pure.
 */
export function stepsOf(lines: readonly BuildLogLine[], isOver: boolean): BuildStep[] {
  const steps = new Map<number, BuildStep>()
  for (const { step: number, mark, at, text, durationMs } of lines) {
    if (mark === 'anew') cancelRunning(steps, at)
    if (mark === 'anew' || number === undefined || mark === undefined || mark === 'progress') continue
    const time = new Date(at).toISOString()
    if (mark === 'begin') {
      steps.set(number, { number, name: text, state: isOver ? 'canceled' : 'running', startedAt: time })
      continue
    }
    const step = steps.get(number)
    if (!step) continue
    const error = mark === 'failed' ? { error: text.replace(/^ERROR: /, '') } : {}
    steps.set(number, { ...step, state: mark, finishedAt: time, durationMs, ...error })
  }
  return [...steps.values()]
}

function cancelRunning(steps: Map<number, BuildStep>, at: number): void {
  for (const [number, step] of steps) {
    if (step.state === 'running')
      steps.set(number, { ...step, state: 'canceled', finishedAt: new Date(at).toISOString() })
  }
}
