import type { Logger } from 'pino'
import type { ObservedBuild } from '#shared/domain/build.ts'
import type { ObservedContainer } from '#shared/domain/container.ts'
import type { HostFacts } from '#shared/domain/host.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { ControlPlane } from './control-plane.ts'

/** Says what was seen. Of each container and build only the newest state waits, so a queue is bounded by what there is. */
export interface Reporter {
  container(seen: ObservedContainer): void
  build(id: BuildId, observed: ObservedBuild): void
  /** A report with facts, whether or not anything changed: the host is alive. */
  heartbeat(): void
  /** Runs until the signal; sends what waits, again and again until the API takes it. */
  run(signal: AbortSignal): Promise<void>
}

export interface ReporterOptions {
  api: ControlPlane
  clock: Clock
  log: Logger
  generation(): number
  facts(): Promise<HostFacts>
  /** After the API took these states. */
  onTaken(containers: readonly ObservedContainer[], builds: readonly { id: BuildId; observed: ObservedBuild }[]): void
}

const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000
const AT_ONCE = 500
const IDLE_MS = 60_000

export function createReporter(options: ReporterOptions): Reporter {
  const { api, clock, log } = options
  const containers = new Map<string, ObservedContainer>()
  const builds = new Map<BuildId, ObservedBuild>()
  let isFactsDue = true
  let wake = () => {}

  const sendOnce = async () => {
    const withFacts = isFactsDue
    isFactsDue = false
    const sent = [...containers.values()].slice(0, AT_ONCE)
    const sentBuilds = [...builds].map(([id, observed]) => ({ id, observed })).slice(0, 100)
    try {
      const facts = withFacts ? await options.facts() : undefined
      await api.report({ generation: options.generation(), facts, containers: sent, builds: sentBuilds })
    } catch (error) {
      isFactsDue ||= withFacts
      throw error
    }
    // What changed while the report was on its way waits for the next one.
    for (const seen of sent) if (containers.get(seen.id) === seen) containers.delete(seen.id)
    for (const { id, observed } of sentBuilds) if (builds.get(id) === observed) builds.delete(id)
    options.onTaken(sent, sentBuilds)
  }
  return {
    container: seen => {
      containers.set(seen.id, seen)
      wake()
    },
    build: (id, observed) => {
      builds.set(id, observed)
      wake()
    },
    heartbeat: () => {
      isFactsDue = true
      wake()
    },
    run: async signal => {
      let failures = 0
      while (!signal.aborted) {
        if (!isFactsDue && containers.size === 0 && builds.size === 0) {
          const ringing = new AbortController()
          wake = () => ringing.abort()
          await clock.sleep(IDLE_MS, AbortSignal.any([signal, ringing.signal]))
          continue
        }
        try {
          await sendOnce()
          failures = 0
        } catch (error) {
          failures++
          if (failures === 1) log.warn({ err: error }, 'the API did not take a report; trying again')
          await clock.sleep(Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** failures) * (0.5 + Math.random() / 2), signal)
        }
      }
    },
  }
}
