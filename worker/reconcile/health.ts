import {
  type ContainerHealth,
  HEALTH_RESULTS_KEPT,
  type HealthCheck,
  type HealthPlan,
  type HealthProbe,
  type HealthResult,
} from '#shared/domain/health.ts'
import type { ImageDefaults } from '#shared/domain/image.ts'

/** Docker's (docs.docker.com, Dockerfile reference, HEALTHCHECK). */
const DEFAULTS = { intervalMs: 30_000, timeoutMs: 30_000, startPeriodMs: 0, startIntervalMs: 5000, retries: 3 }
const DEFAULT_SHELL = ['/bin/sh', '-c']
const NANOSECONDS = 1e6
/** The most that Node's timers take. */
const LONGEST_MS = 2 ** 31 - 1
/** A check more often than this would be all that its host does. */
export const LEAST_INTERVAL_MS = 100

/** What is known of the health of one process: begins anew with each start. Kept in the container's folder. */
export interface HealthState extends ContainerHealth {
  /** Of the process that it is about, in Unix milliseconds. */
  startedAt: number
  /** When the next check is due, whoever is the agent by then. */
  nextAt: number
  /** Oldest first. */
  log: HealthResult[]
}

/** How a container is checked: what it says itself, then its image, then Docker's defaults. Undefined: not at all. Pure. */
export function healthPlan(own: HealthCheck | undefined, image: ImageDefaults): HealthPlan | undefined {
  if (own?.kind === 'none') return undefined
  const ofImage = image.Healthcheck ?? {}
  const probe = own?.probe ?? imageProbe(ofImage.Test ?? [])
  if (!probe) return undefined
  const time = (mine: number | undefined, theirs: number | null | undefined, usual: number) => {
    const asked = mine || Math.round((theirs ?? 0) / NANOSECONDS) || usual // 0 is "as usual", as Docker has it.
    return Math.min(LONGEST_MS, Math.max(0, asked))
  }
  return {
    probe: probe.kind === 'shell' ? inShell(probe.line, image) : probe,
    intervalMs: Math.max(LEAST_INTERVAL_MS, time(own?.intervalMs, ofImage.Interval, DEFAULTS.intervalMs)),
    timeoutMs: time(own?.timeoutMs, ofImage.Timeout, DEFAULTS.timeoutMs),
    startPeriodMs: time(own?.startPeriodMs, ofImage.StartPeriod, DEFAULTS.startPeriodMs),
    startIntervalMs: Math.max(
      LEAST_INTERVAL_MS,
      time(own?.startIntervalMs, ofImage.StartInterval, DEFAULTS.startIntervalMs),
    ),
    retries: Math.max(1, own?.retries ?? (ofImage.Retries || DEFAULTS.retries)),
  }
}

function imageProbe([kind, ...words]: readonly string[]): HealthProbe | undefined {
  if (kind === 'CMD' && words.length > 0) return { kind: 'command', args: words }
  if (kind === 'CMD-SHELL' && words[0]) return { kind: 'shell', line: words[0] }
  return undefined
}

function inShell(line: string, { Shell }: ImageDefaults): HealthProbe {
  return { kind: 'command', args: [...(Shell && Shell.length > 0 ? Shell : DEFAULT_SHELL), line] }
}

/** Of a process: what is stored of it, or a beginning. Pure. */
export function healthSince(startedAt: number, plan: HealthPlan, stored: HealthState | undefined): HealthState {
  if (stored?.startedAt === startedAt) return stored
  const nextAt = startedAt + (plan.startPeriodMs > 0 ? plan.startIntervalMs : plan.intervalMs)
  return { startedAt, status: 'starting', failingStreak: 0, nextAt, log: [] }
}

/**
 * After a check (Docker's rules): one success makes it healthy, `retries` failures in a row make it unhealthy, and failures that
 * began in its start period do not count until it was healthy once. Pure.
 */
export function afterCheck(plan: HealthPlan, before: HealthState, result: HealthResult): HealthState {
  const log = [...before.log, result].slice(-HEALTH_RESULTS_KEPT)
  const inStartPeriod = (at: number) => at - before.startedAt < plan.startPeriodMs
  const next = { ...before, log, nextAt: result.finishedAt + plan.intervalMs }
  if (result.exitCode === 0) return { ...next, status: 'healthy', failingStreak: 0, lastFailure: undefined }
  if (before.status === 'starting' && inStartPeriod(result.startedAt)) {
    const soon = inStartPeriod(result.finishedAt) ? { nextAt: result.finishedAt + plan.startIntervalMs } : {}
    return { ...next, ...soon }
  }
  const failingStreak = before.failingStreak + 1
  const status = failingStreak >= plan.retries ? 'unhealthy' : before.status
  return { ...next, failingStreak, status, lastFailure: result }
}

/** What is said of it. Pure. */
export function healthOf({ status, failingStreak, lastFailure }: HealthState): ContainerHealth {
  return { status, failingStreak, ...(lastFailure ? { lastFailure } : {}) }
}

/** A container whose check has its time. */
export interface DueCheck {
  id: string
  nextAt: number
  isUnderWay: boolean
}

/** Which checks to begin now, those that wait longest first, and when to look again. `room`: how many more may be under way. Pure. */
export function planChecks(checks: Iterable<DueCheck>, now: number, room: number) {
  const waiting = [...checks].filter(({ isUnderWay }) => !isUnderWay).sort((a, b) => a.nextAt - b.nextAt)
  const begin = waiting.filter(({ nextAt }) => nextAt <= now).slice(0, Math.max(0, room))
  const next = waiting[begin.length]
  // Without room there is nothing to look for: the end of a check is the next look.
  const isFull = begin.length >= room
  return { begin: begin.map(({ id }) => id), lookAgainAt: isFull ? undefined : next?.nextAt }
}
