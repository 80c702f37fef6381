import { join } from 'node:path'
import type { Logger } from 'pino'
import type { HealthPlan } from '#shared/domain/health.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { checkHealth, type HealthPorts } from '../execute/check-health.ts'
import { writeHealth } from '../observe/health-file.ts'
import type { ContainerFacts } from '../reconcile/facts.ts'
import { afterCheck, type HealthState, planChecks } from '../reconcile/health.ts'

export interface HealthKeeper {
  /** Has a container checked for as long as these facts hold: it runs and has a health check. Others are let go. */
  follow(id: ContainerId, facts: ContainerFacts, isToRun: boolean): void
  forget(id: string): void
}

export interface HealthKeeperOptions {
  ports: HealthPorts
  log: Logger
  /** Told of a container whose health may have changed. */
  onChange(id: ContainerId): void
  signal: AbortSignal
}

interface Followed {
  id: ContainerId
  plan: HealthPlan
  pid: number
  state: HealthState
  isUnderWay: boolean
  isFirst: boolean
  over: AbortController
}

const CHECKS_AT_ONCE = 8
/** What is due within it is begun together. */
const LEAST_SLEEP_MS = 20
/** The most that Node's timers take: beyond it they fire at once. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

/**
 * Makes the checks of all containers of this host. There is one timer, set to the earliest of all due times, and at most eight
 * checks are under way: a host that is late checks less often, and does no more at once. A check by a program costs one process
 * of the runtime and the program's own; one by HTTP or TCP a socket. Due times are in each container's folder, so that
 * another agent goes on where this one stops.
 */
export function createHealthKeeper({ ports, log, onChange, signal }: HealthKeeperOptions): HealthKeeper {
  const followed = new Map<string, Followed>()
  let underWay = 0
  let timer: NodeJS.Timeout | undefined

  const arm = () => {
    clearTimeout(timer)
    if (signal.aborted) return
    const { begin, lookAgainAt } = planChecks(dueTimes(), ports.clock.now(), CHECKS_AT_ONCE - underWay)
    for (const id of begin) {
      const one = followed.get(id)
      if (one) check(one).catch(error => log.error({ err: error, id }, 'a health check could not be made'))
    }
    if (lookAgainAt === undefined) return
    timer = setTimeout(arm, Math.min(LONGEST_SLEEP_MS, Math.max(LEAST_SLEEP_MS, lookAgainAt - ports.clock.now())))
  }
  const dueTimes = function* () {
    for (const { id, state, isUnderWay } of followed.values()) yield { id, nextAt: state.nextAt, isUnderWay }
  }
  const check = async (one: Followed) => {
    const { id, plan, pid, isFirst } = one
    one.isUnderWay = true
    underWay++
    try {
      const over = AbortSignal.any([signal, one.over.signal])
      const result = await checkHealth(ports, { id, plan, pid, isFirst, signal: over })
      if (over.aborted) return // What ends fails its check.
      const before = one.state
      // What a build stopped while it reads its files cannot answer.
      if (result.exitCode !== 0 && (await ports.runtime.inspect(id)).state !== 'running') {
        one.state = { ...before, nextAt: result.finishedAt + plan.intervalMs }
        return
      }
      one.state = afterCheck(plan, before, result)
      one.isFirst = false
      await writeHealth(join(ports.containersFolder, id), one.state)
      if (isNews(before, one.state)) onChange(id)
    } finally {
      one.isUnderWay = false
      underWay--
      arm()
    }
  }
  const forget = (id: string) => {
    followed.get(id)?.over.abort()
    followed.delete(id)
  }
  return {
    forget,
    follow: (id, { process, record, health }, isToRun) => {
      const known = followed.get(id)
      if (!isToRun || process.state !== 'running' || !record.health || !health) return forget(id)
      if (known?.state.startedAt === health.startedAt) return
      forget(id)
      const flags = { isUnderWay: false, isFirst: true, over: new AbortController() }
      followed.set(id, { id, plan: record.health, pid: process.pid, state: health, ...flags })
      arm()
    },
  }
}

function isNews(before: HealthState, after: HealthState): boolean {
  return before.status !== after.status || before.failingStreak !== after.failingStreak
}
