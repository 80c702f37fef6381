import {
  type ContainerGoal,
  type ContainerSpec,
  DEFAULT_STOP,
  expiresAt,
  type ObservedState,
  type SignalOrder,
  type StopOrder,
} from '#shared/domain/container.ts'
import { SlipwayError, unreachable } from '#shared/errors.ts'

/** What is asked of a container that exists. */
export type Order =
  | { kind: 'start' }
  /** Left out: the container's own timeout. */
  | { kind: 'stop'; signal: string | undefined; timeoutMs: number | undefined }
  /** A start of what does not run; `end` is how the run before ends, if there is one. */
  | { kind: 'restart'; end: AskedEnd }
  | { kind: 'kill'; signal: string }
  | { kind: 'pause' }
  | { kind: 'unpause' }
  | { kind: 'remove'; isForced: boolean }
  /** Of its host, for room: only what has ended and been kept for its time. */
  | { kind: 'expire'; now: number }
  /** To another spec; `end` is how the run before ends. */
  | { kind: 'update'; end: AskedEnd }

/** What is left out is the container's own. */
export interface AskedEnd {
  signal?: string | undefined
  timeoutMs?: number | undefined
}

export interface Wanted {
  goal: ContainerGoal
  signal: SignalOrder | null
}

export interface Current extends Wanted {
  name: string
  spec: ContainerSpec
  observed: ObservedState | null
}

/** The goal after an order, or undefined when the container is to be that already. Pure; throws why an order is refused. */
export function nextGoal(current: Current, order: Order): Wanted | undefined {
  if (current.goal.kind === 'removed') {
    if (order.kind === 'remove' || order.kind === 'expire') return undefined
    throw new SlipwayError('container.removing', `Container ${current.name} is being removed.`)
  }
  switch (order.kind) {
    case 'start':
      return start(current)
    case 'stop':
      return stop(current, order.signal, endOf(current, order).timeoutMs)
    case 'restart':
      return restart(current, endOf(current, order.end))
    case 'kill':
      return kill(current, order.signal)
    case 'pause':
      return pause(current)
    case 'unpause':
      return unpause(current)
    case 'remove':
      return remove(current, order.isForced)
    case 'expire':
      return expire(current, order.now)
    case 'update':
      return update(current, endOf(current, order.end))
    default:
      return unreachable(order)
  }
}

/** With the container's own time where none was asked for. */
function endOf({ spec }: Current, { signal, timeoutMs }: AskedEnd): StopOrder {
  return { signal, timeoutMs: timeoutMs ?? spec.stopTimeoutMs ?? DEFAULT_STOP.timeoutMs }
}

/** The last run that was asked for, or that a host began by itself after a reboot. */
function runOf({ goal, observed }: Current): number {
  const asked = 'run' in goal ? goal.run : 0
  return observed && 'run' in observed ? Math.max(asked, observed.run) : asked
}

/** After a reboot a host begins what was stopped again where its policy is `always`: in a run that no stop was for. */
function isRevived({ goal, observed }: Current): boolean {
  return goal.kind === 'stopped' && observed !== null && 'run' in observed && observed.run > goal.run
}

/** Live as far as anyone knows: asked to be, and not seen to have ended at this run; or still seen to run. */
function isLive({ goal, observed }: Current): boolean {
  if (goal.kind !== 'running' && goal.kind !== 'paused') return isSeenAlive(observed)
  return !(observed?.state === 'exited' && observed.run >= goal.run)
}

function isSeenAlive(observed: ObservedState | null): boolean {
  return observed?.state === 'running' || observed?.state === 'paused'
}

/** A run that was told to stop and is still at it keeps the time it was given: the new one begins after it. */
function start(current: Current): Wanted | undefined {
  const { goal, signal } = current
  if (goal.kind === 'paused' && isLive(current)) {
    throw new SlipwayError('container.not-running', `Container ${current.name} is paused: unpause it instead.`)
  }
  if (goal.kind === 'running' && isLive(current)) return undefined
  if (isRevived(current) && isSeenAlive(current.observed))
    return { goal: { kind: 'running', run: runOf(current) }, signal }
  const endPrevious = goal.kind === 'stopped' ? { endPrevious: stopOrderOf(goal) } : {}
  return { goal: { kind: 'running', run: runOf(current) + 1, ...endPrevious }, signal }
}

function stopOrderOf({ signal, timeoutMs }: StopOrder): StopOrder {
  return { ...(signal === undefined ? {} : { signal }), timeoutMs }
}

/** Another run, after the end of the one before. One that is being stopped already gets no more time than that gave it. */
function restart(current: Current, end: StopOrder): Wanted {
  const { goal, signal } = current
  const timeoutMs =
    goal.kind === 'stopped' && !isRevived(current) ? Math.min(goal.timeoutMs, end.timeoutMs) : end.timeoutMs
  const endPrevious = goal.kind === 'created' ? {} : { endPrevious: stopOrderOf({ ...end, timeoutMs }) }
  return { goal: { kind: 'running', run: runOf(current) + 1, ...endPrevious }, signal }
}

function stop(current: Current, signal: string | undefined, timeoutMs: number): Wanted | undefined {
  const { goal } = current
  if (goal.kind === 'created') return undefined
  if (goal.kind === 'stopped' && !isRevived(current)) return hurry(current, goal, signal, timeoutMs)
  return { goal: { kind: 'stopped', run: runOf(current), signal, timeoutMs }, signal: current.signal }
}

/** A second stop sends its own signal too, and shortens the time, which counts from the first one; it never lengthens it. */
function hurry(
  current: Current,
  goal: Extract<ContainerGoal, { kind: 'stopped' }>,
  signal: string | undefined,
  timeoutMs: number,
): Wanted | undefined {
  if (!isLive(current) || (signal === undefined && timeoutMs >= goal.timeoutMs)) return undefined
  if (signal === 'SIGKILL') return kill(current, signal)
  const next = signal === undefined ? current.signal : nextSignal(current, signal)
  return { goal: { ...goal, timeoutMs: Math.min(goal.timeoutMs, timeoutMs) }, signal: next }
}

/** SIGKILL ends it for good, as `docker kill` does; another signal is delivered once and changes no goal. */
function kill(current: Current, signal: string): Wanted {
  refuseUnlessLive(current)
  if (signal === 'SIGKILL')
    return { goal: { kind: 'stopped', run: runOf(current), signal, timeoutMs: 0 }, signal: current.signal }
  return { goal: current.goal, signal: nextSignal(current, signal) }
}

/** The number only grows, over all runs: the host remembers the last one that it delivered. */
function nextSignal({ signal: last }: Current, signal: string): SignalOrder {
  return { seq: (last?.seq ?? 0) + 1, signal }
}

function pause(current: Current): Wanted | undefined {
  if (current.goal.kind === 'paused') return undefined
  refuseUnlessAsked(current)
  return { goal: { kind: 'paused', run: runOf(current) }, signal: current.signal }
}

function unpause(current: Current): Wanted | undefined {
  if (current.goal.kind === 'running') return undefined
  if (current.goal.kind !== 'paused') refuseUnlessAsked(current)
  return { goal: { kind: 'running', run: runOf(current) }, signal: current.signal }
}

function remove(current: Current, isForced: boolean): Wanted {
  if (!isForced && current.goal.kind !== 'created' && isLive(current)) {
    throw new SlipwayError(
      'container.running',
      `Container ${current.name} runs: stop it first, or remove it with ?force=true.`,
    )
  }
  return { goal: { kind: 'removed', isForced }, signal: current.signal }
}

function expire(current: Current, now: number): Wanted {
  const at = expiresAt(current.spec, current.goal, current.observed)
  if (at === undefined || at > now) {
    throw new SlipwayError('container.kept', `Container ${current.name} has not ended, or is kept for longer.`)
  }
  return { goal: { kind: 'removed', isForced: false }, signal: current.signal }
}

/** What is asked to run begins another run, even where the one before has ended by itself; what stays down stays so. */
function update(current: Current, end: StopOrder): Wanted {
  const { goal, signal } = current
  if (goal.kind === 'running' || isRevived(current))
    return { goal: { kind: 'running', run: runOf(current) + 1, endPrevious: stopOrderOf(end) }, signal }
  return { goal: goal.kind === 'paused' ? { ...goal, run: goal.run + 1 } : goal, signal }
}

function refuseUnlessLive(current: Current): void {
  if (current.goal.kind !== 'created' && isLive(current)) return
  throw new SlipwayError('container.not-running', `Container ${current.name} does not run: start it first.`)
}

/** What is on its way to its end cannot be kept from it. */
function refuseUnlessAsked(current: Current): void {
  refuseUnlessLive(current)
  if (current.goal.kind !== 'stopped' || isRevived(current)) return
  throw new SlipwayError('container.not-running', `Container ${current.name} is being stopped: start it afterwards.`)
}
