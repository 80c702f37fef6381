import type { Logger } from 'pino'
import type { DesiredContainer, ObservedContainer } from '#shared/domain/container.ts'
import { toFault } from '#shared/errors.ts'
import { execute } from '../execute/execute.ts'
import type { HostPorts } from '../execute/ports.ts'
import { removeContainer } from '../execute/remove-container.ts'
import { type ObservedPorts, observeContainer, observedIds } from '../observe/container-facts.ts'
import { observeDependencies } from '../observe/dependency-facts.ts'
import type { ContainerFacts } from '../reconcile/facts.ts'
import { planContainer } from '../reconcile/plan-container.ts'
import { effectiveGoal } from '../reconcile/revival.ts'
import { observedState } from '../reconcile/status.ts'
import { type ContainerQueue, createContainerQueue } from './container-queue.ts'
import type { DesiredCopy } from './desired-copy.ts'
import type { HealthKeeper } from './health-keeper.ts'
import type { Reporter } from './reporter.ts'
import { createRetryDelays } from './retry-delays.ts'

export interface ReconcilerOptions {
  ports: HostPorts & ObservedPorts
  desired: Pick<DesiredCopy, 'state' | 'container'>
  reporter: Pick<Reporter, 'container'>
  health: HealthKeeper
  log: Logger
  builds: {
    /** Ids that a running build owns: not orphans. */
    owns(id: string): boolean
    /** Containers that stand still for one. */
    holds(id: string): boolean
  }
  /** From 0 to 1. */
  random(): number
}

export interface Reconciler {
  look(id: string): void
  /** Looks at everything: desired containers, and what is on the host without an owner. */
  lookAtAll(): Promise<void>
  /** Forgets what was said, so that the next looks say everything again: the API asked for all, or may have lost some. */
  sayAgain(): void
  idle(): Promise<void>
}

/** Steps of one look, so that a plan that does not converge cannot spin. */
const MAX_STEPS = 10
/** After a signal the process takes its time to end; its exit rings, this is for the case that it does not. */
const AFTER_SIGNAL_MS = 250

/** Observe, plan, execute, report: for one container at a time, again until its plan is empty. */
export function createReconciler({
  ports,
  desired,
  reporter,
  health,
  log,
  builds,
  random,
}: ReconcilerOptions): Reconciler {
  const reported = new Map<string, string>()
  const timers = new Map<string, NodeJS.Timeout>()
  const retries = createRetryDelays(random)
  /** Those whose next run waits for others. */
  const waiting = new Map<string, ReadonlySet<string>>()

  const lookLater = (id: string, at: number) => {
    clearTimeout(timers.get(id))
    timers.set(
      id,
      setTimeout(
        () => {
          timers.delete(id)
          queue.look(id)
        },
        Math.max(10, at - ports.clock.now()),
      ),
    )
  }
  const report = (seen: ObservedContainer) => {
    const { observedAt, ...state } = seen
    const text = JSON.stringify(state)
    if (reported.get(seen.id) === text) return
    reported.set(seen.id, text)
    reporter.container(seen)
    for (const [id, dependencies] of waiting) if (dependencies.has(seen.id)) queue.look(id)
  }
  const factsOf = async (want: DesiredContainer): Promise<ContainerFacts> => {
    const facts = await observeContainer(ports, want, builds.holds(want.id))
    const dependencies = await observeDependencies(ports, want, facts.record, desired.container)
    if (dependencies.length === 0) {
      waiting.delete(want.id)
      return facts
    }
    waiting.set(want.id, new Set(want.spec.dependsOn?.map(({ container }) => container)))
    return { ...facts, dependencies }
  }
  const lookAt = async (id: string) => {
    for (let step = 0; step < MAX_STEPS; step++) {
      const want = desired.container(id)
      if (!want) return removeOrphan(id)
      const facts = await factsOf(want)
      const isToRun = effectiveGoal(want, facts).kind === 'running'
      if (!isToRun) health.forget(id) // What is to end or to stand still fails its checks.
      const now = ports.clock.now()
      const plan = planContainer(want, facts, now)
      if (plan.lookAgainAt !== undefined) lookLater(id, plan.lookAgainAt)
      if (plan.actions.length === 0) {
        retries.succeeded(id)
        health.follow(want.id, facts, isToRun)
        // Said only now: a state on the way to what is asked is not the answer to it.
        const { generation } = want
        report({
          id: want.id,
          generation,
          observedAt: now,
          restarts: facts.record.restarts,
          status: observedState(want, facts),
          lastEnd: facts.record.lastEnd,
        })
        return
      }
      for (const action of plan.actions) await execute(action, want, ports)
      if (plan.actions.some(({ kind }) => kind === 'sendStop'))
        return lookLater(id, ports.clock.now() + AFTER_SIGNAL_MS)
    }
    lookLater(id, ports.clock.now() + 1000)
  }
  const removeOrphan = async (id: string) => {
    if (builds.owns(id) || !desired.state()) return
    log.info({ id }, 'removing what has no owner')
    reported.delete(id)
    waiting.delete(id)
    health.forget(id)
    if (/^build-/.test(id)) await ports.snapshots.remove(id)
    else await removeContainer(ports, id)
    retries.succeeded(id)
  }
  const queue: ContainerQueue = createContainerQueue(async id => {
    try {
      await lookAt(id)
    } catch (error) {
      const delayMs = retries.failed(id)
      log.warn({ id, ...toFault(error), delayMs }, 'an action failed; it will be tried again')
      lookLater(id, ports.clock.now() + delayMs)
    }
  })
  return {
    look: queue.look,
    idle: queue.idle,
    sayAgain: () => reported.clear(),
    lookAtAll: async () => {
      const wanted = desired.state()?.containers.map(({ id }) => id) ?? []
      const there = await observedIds(ports)
      for (const id of new Set([...wanted, ...there])) queue.look(id)
    },
  }
}
