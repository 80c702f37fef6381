import PQueue from 'p-queue'
import type { DesiredBuild, ObservedBuild } from '#shared/domain/build.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import type { DesiredState } from '#shared/protocol/agent.ts'
import type { Reporter } from './reporter.ts'

export interface BuildRunner {
  /** Begins builds that are asked for and do not run, cancels those that are to be canceled. */
  look(): void
  idle(): Promise<void>
}

export interface BuildRunnerOptions {
  desired: { state(): Pick<DesiredState, 'builds'> | undefined }
  reporter: Pick<Reporter, 'build'>
  /** Never throws: how it ended is its result. */
  build(build: DesiredBuild, signal: AbortSignal): Promise<ObservedBuild>
  now(): number
  signal: AbortSignal
}

const AT_ONCE = 2

/** Builds run in the background, two at a time. One that a dead agent left is begun again: its steps are in the cache. */
export function createBuildRunner({ desired, reporter, build, now, signal }: BuildRunnerOptions): BuildRunner {
  const queue = new PQueue({ concurrency: AT_ONCE })
  /** Those that this agent began and the API may not know the end of yet. */
  const begun = new Map<BuildId, AbortController>()
  const over = new Set<BuildId>()
  const runOne = async (wanted: DesiredBuild, cancel: AbortController) => {
    if (signal.aborted) return
    const startedAt = now()
    reporter.build(wanted.id, { state: 'running', startedAt })
    const observed = cancel.signal.aborted
      ? { state: 'canceled' as const, startedAt, finishedAt: now() }
      : await build(wanted, AbortSignal.any([signal, cancel.signal]))
    // An agent that stops leaves the build unfinished, for its next life.
    if (!signal.aborted) reporter.build(wanted.id, observed)
  }
  /** One that is over and not asked for any more was reported: its name can go. */
  const forgetThoseTaken = () => {
    const asked = new Set(desired.state()?.builds.map(({ id }) => id))
    for (const id of over.difference(asked)) {
      over.delete(id)
      begun.delete(id)
    }
  }
  return {
    look: () => {
      for (const wanted of desired.state()?.builds ?? []) {
        const running = begun.get(wanted.id)
        if (running) {
          if (wanted.goal === 'canceled') running.abort()
          continue
        }
        const cancel = new AbortController()
        if (wanted.goal === 'canceled') cancel.abort()
        begun.set(wanted.id, cancel)
        queue
          .add(() => runOne(wanted, cancel))
          .catch(() => {})
          .finally(() => over.add(wanted.id))
      }
      forgetThoseTaken()
    },
    idle: () => queue.onIdle(),
  }
}
