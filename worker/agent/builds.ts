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
  /** Those whose turn has not come. */
  const waiting = new Set<BuildId>()
  const reportCanceled = (id: BuildId) => {
    if (!signal.aborted) reporter.build(id, { state: 'canceled', startedAt: now(), finishedAt: now() })
  }
  const runOne = async (wanted: DesiredBuild, cancel: AbortController) => {
    if (signal.aborted || cancel.signal.aborted) return // It was reported when it was canceled.
    waiting.delete(wanted.id)
    const startedAt = now()
    reporter.build(wanted.id, { state: 'running', startedAt })
    const observed = await build(wanted, AbortSignal.any([signal, cancel.signal]))
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
  const begin = (wanted: DesiredBuild) => {
    const canceling = new AbortController()
    begun.set(wanted.id, canceling)
    waiting.add(wanted.id)
    queue
      .add(() => runOne(wanted, canceling))
      .catch(() => {})
      .finally(() => over.add(wanted.id))
  }
  const cancel = (id: BuildId) => {
    begun.get(id)?.abort()
    // One that waits for its turn is over at once.
    if (waiting.delete(id)) reportCanceled(id)
  }
  return {
    look: () => {
      for (const wanted of desired.state()?.builds ?? []) {
        if (!begun.has(wanted.id)) begin(wanted)
        if (wanted.goal === 'canceled') cancel(wanted.id)
      }
      forgetThoseTaken()
    },
    idle: () => queue.onIdle(),
  }
}
