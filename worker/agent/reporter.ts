import type { Logger } from 'pino'
import type { Digest } from '#shared/digest.ts'
import type { ObservedBuild } from '#shared/domain/build.ts'
import type { ObservedContainer } from '#shared/domain/container.ts'
import type { HostFacts } from '#shared/domain/host.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { HostUsage, LayerSize, Report } from '#shared/protocol/agent.ts'
import type { ControlPlane } from './control-plane.ts'

/** Says what was seen. Of each container and build only the newest state waits, so a queue is bounded by what there is. */
export interface Reporter {
  container(seen: ObservedContainer): void
  build(id: BuildId, observed: ObservedBuild): void
  /** Says at once, past everything that waits, how a build ended: for an agent that stops. Errors: the API's. */
  lastOf(id: BuildId, observed: ObservedBuild): Promise<void>
  usage(measured: HostUsage): void
  layer(size: LayerSize): void
  /** A report with facts, whether or not anything changed: the host is alive. */
  heartbeat(): void
  /** Runs until the signal; sends what waits, again and again until the API takes it. */
  run(signal: AbortSignal): Promise<void>
}

export interface ReporterOptions {
  api: Pick<ControlPlane, 'report'>
  clock: Clock
  log: Logger
  generation(): number
  facts(): Promise<HostFacts>
  /** Whether the first report has facts; true unless said otherwise. */
  areFactsDue?: boolean
  /** After the API took these states. */
  onTaken(containers: readonly ObservedContainer[], builds: readonly { id: BuildId; observed: ObservedBuild }[]): void
}

const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000
const AT_ONCE = 500
const IDLE_MS = 60_000
const REFUSALS = new Set([400, 413, 422])

export function createReporter(options: ReporterOptions): Reporter {
  const { api, clock, log } = options
  const containers = new Map<string, ObservedContainer>()
  const builds = new Map<BuildId, ObservedBuild>()
  let usage: HostUsage | undefined
  const layers = new Map<Digest, LayerSize>()
  let isFactsDue = options.areFactsDue ?? true
  let wake = () => {}

  const sendOnce = async () => {
    const withFacts = isFactsDue
    isFactsDue = false
    try {
      const items: Item[] = [
        ...(withFacts ? [{ kind: 'facts' as const, facts: await options.facts() }] : []),
        ...(usage ? [{ kind: 'usage' as const, usage }] : []),
        ...[...layers.values()].slice(0, AT_ONCE).map(layer => ({ kind: 'layer' as const, layer })),
        ...[...containers.values()].slice(0, AT_ONCE).map(seen => ({ kind: 'container' as const, seen })),
        ...[...builds].slice(0, 100).map(([id, observed]) => ({ kind: 'build' as const, id, observed })),
      ]
      await deliver(items)
    } catch (error) {
      isFactsDue ||= withFacts
      throw error
    }
  }
  /** One state that the API refuses must not keep back all others: the report is halved until it stands alone, and dropped. */
  const deliver = async (items: readonly Item[]): Promise<void> => {
    try {
      await api.report(reportOf(options.generation(), items))
      taken(items)
    } catch (error) {
      if (!isRefused(error)) throw error
      if (items.length > 1) {
        const half = items.length >> 1
        await deliver(items.slice(0, half))
        return deliver(items.slice(half))
      }
      log.error({ err: error, refused: items[0] }, 'the API refuses this state; it is dropped')
      forget(items)
    }
  }
  const taken = (items: readonly Item[]) => {
    forget(items)
    options.onTaken(
      items.flatMap(item => (item.kind === 'container' ? [item.seen] : [])),
      items.flatMap(item => (item.kind === 'build' ? [{ id: item.id, observed: item.observed }] : [])),
    )
  }
  /** What changed while the report was on its way waits for the next one. */
  const forget = (items: readonly Item[]) => {
    for (const item of items) {
      if (item.kind === 'usage' && usage === item.usage) usage = undefined
      if (item.kind === 'layer') layers.delete(item.layer.digest)
      if (item.kind === 'container' && containers.get(item.seen.id) === item.seen) containers.delete(item.seen.id)
      if (item.kind === 'build' && builds.get(item.id) === item.observed) builds.delete(item.id)
    }
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
    lastOf: async (id, observed) => {
      await api.report(reportOf(options.generation(), [{ kind: 'build', id, observed }]))
    },
    usage: measured => {
      usage = measured
      wake()
    },
    // It waits for the next report: nobody is in a hurry to know.
    layer: size => void layers.set(size.digest, size),
    heartbeat: () => {
      isFactsDue = true
      wake()
    },
    run: async signal => {
      let failures = 0
      while (!signal.aborted) {
        if (!isFactsDue && !usage && containers.size === 0 && builds.size === 0) {
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

/** One thing that is said; a report holds many. */
type Item =
  | { kind: 'facts'; facts: HostFacts }
  | { kind: 'usage'; usage: HostUsage }
  | { kind: 'layer'; layer: LayerSize }
  | { kind: 'container'; seen: ObservedContainer }
  | { kind: 'build'; id: BuildId; observed: ObservedBuild }

function reportOf(generation: number, items: readonly Item[]): Report {
  return {
    generation,
    facts: items.find(item => item.kind === 'facts')?.facts,
    usage: items.find(item => item.kind === 'usage')?.usage,
    layerSizes: items.flatMap(item => (item.kind === 'layer' ? [item.layer] : [])),
    containers: items.flatMap(item => (item.kind === 'container' ? [item.seen] : [])),
    builds: items.flatMap(item => (item.kind === 'build' ? [{ id: item.id, observed: item.observed }] : [])),
  }
}

/** The API has read the report and will never take it as it is. A token or address that is wrong is not the report's fault. */
function isRefused(error: unknown): boolean {
  return error instanceof SlipwayError && !error.retry && REFUSALS.has(error.status)
}
