import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ExecSession } from '#shared/domain/exec.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError, toFault, unreachable } from '#shared/errors.ts'
import type { ExecOrder } from '#shared/protocol/bus.ts'
import { readRecord } from '../observe/container-record.ts'
import { isStale } from '../reconcile/facts.ts'
import type { Attachment } from '../runtime/exec-runtime.ts'
import { execProcess } from './exec-process.ts'
import {
  type ExecKey,
  execFolderOf,
  forgetExec,
  forgetExecs,
  listExecContainers,
  listExecs,
  readExec,
  writeExecRecord,
} from './exec-record.ts'
import type { HostPorts } from './ports.ts'

export type ExecSessionPorts = Pick<
  HostPorts,
  'runtime' | 'execs' | 'execFolder' | 'containersFolder' | 'images' | 'clock'
>
type Wanted = (id: ContainerId) => DesiredContainer | undefined
type Order<K extends ExecOrder['kind']> = Extract<ExecOrder, { kind: K }>

/** Of one container, and of all of a host, at the same time. */
const MOST_RUNNING = 64
const MOST_ON_HOST = 512
/** Ended ones are remembered for so long, and so many of a container. */
const KEEP_MS = 10 * 60_000
const MOST_ENDED = 64
/** Its output waits for somebody for so long; then it is dropped, and the process goes on. */
export const LONELY_MS = 60_000

/** A process that somebody is attached to, was a moment ago or may be soon. */
export interface Live {
  attachment: Attachment
  /** Sends away who is attached. */
  client: AbortController | undefined
  lonelySince: number
}

export interface ExecSessions {
  /** What an order asks for: an `ExecSession` in JSON on each line. Errors: `exec.*`, `container.*`. */
  answer(order: ExecOrder, signal: AbortSignal): AsyncGenerator<Uint8Array, void>
  /** By the session's id. */
  live: Map<string, Live>
  /** Attaches to one that an earlier agent ran, or that was let go of. */
  adopt(key: ExecKey): Live
  /** Forgets what ended long ago, and lets go of what nobody is attached to. */
  sweep(): Promise<void>
}

/**
 * Processes run in containers of this host. Which there are and how they ended is on the disk; in memory is who is
 * attached, which an agent takes with it.
 */
export function createExecSessions(ports: ExecSessionPorts, wanted: Wanted): ExecSessions {
  const live = new Map<string, Live>()
  const beginning = new Set<string>()
  const adopt = (key: ExecKey): Live => {
    const attachment = ports.execs.attach(execFolderOf(ports, key))
    const adopted = { attachment, client: undefined, lonelySince: ports.clock.now() }
    live.set(key.execId, adopted)
    return adopted
  }
  return {
    live,
    adopt,
    answer: async function* (order, signal) {
      for (const session of await sessionsFor(order, signal)) {
        yield new TextEncoder().encode(`${JSON.stringify(session)}\n`)
      }
    },
    sweep: async () => {
      const now = ports.clock.now()
      for (const [id, { attachment, client, lonelySince }] of live) {
        if (client || now - lonelySince < LONELY_MS) continue
        live.delete(id)
        attachment.close()
      }
      for (const id of await listExecContainers(ports)) await adoptHeld(id)
      for (const id of await listExecContainers(ports)) {
        await forgetUnbegun(id)
        await forgetEnded(ports, id, wanted(id) === undefined, live)
      }
    },
  }

  /** What an earlier agent was attached to waits for a client as what this one began. */
  async function adoptHeld(containerId: ContainerId): Promise<void> {
    for (const { id: execId } of await listExecs(ports, containerId)) {
      const key = { containerId, execId }
      if (live.has(execId) || beginning.has(execId) || !ports.execs.isHeld(execFolderOf(ports, key))) continue
      try {
        adopt(key)
      } catch {} // It has just ended.
    }
  }

  /** What an agent was killed over before its process was there. */
  async function forgetUnbegun(containerId: ContainerId): Promise<void> {
    for (const { id: execId, state, pid } of await listExecs(ports, containerId)) {
      const isUnbegun = state === 'running' && pid === undefined && !live.has(execId) && !beginning.has(execId)
      if (isUnbegun) await forgetExec(ports, { containerId, execId })
    }
  }

  async function sessionsFor(order: ExecOrder, signal: AbortSignal): Promise<ExecSession[]> {
    switch (order.kind) {
      case 'exec':
        return [await begin(order)]
      case 'exec-state':
        return [await ended(order, signal)]
      case 'exec-list':
        return listExecs(ports, order.containerId)
      case 'exec-resize':
        return [await resize(order)]
      default:
        return unreachable(order)
    }
  }

  async function begin(order: Order<'exec'>): Promise<ExecSession> {
    const { containerId, execId, spec } = order
    const want = await requireRunning(ports, wanted, containerId)
    await requireRoom(containerId)
    const process = await execProcess(ports, want, spec)
    const hasStdin = spec.stdin && !spec.isDetached
    const record = {
      ...{ id: execId, containerId, command: spec.command, tty: spec.tty, stdin: hasStdin },
      startedAt: ports.clock.now(),
    }
    const folder = execFolderOf(ports, order)
    await writeExecRecord(folder, { ...record, isStarting: true })
    beginning.add(execId)
    try {
      const { isDetached } = spec
      const attachment = await ports.execs.start({ containerId, folder, process, hasStdin, isDetached })
      if (attachment) live.set(execId, { attachment, client: undefined, lonelySince: ports.clock.now() })
      await writeExecRecord(folder, { ...record, isStarting: false })
      if (spec.tty && spec.size) await ports.execs.resize(folder, spec.size)
    } catch (error) {
      const fault = toFault(error)
      // As a shell and docker have it: 127 is not there, 126 cannot be run.
      const exitCode = fault.code === 'container.command-not-found' ? 127 : 126
      await writeExecRecord(folder, {
        ...{ ...record, isStarting: false, exitCode, finishedAt: ports.clock.now() },
        error: { code: fault.code, message: fault.message },
      })
    } finally {
      beginning.delete(execId)
    }
    return readExec(ports, order)
  }

  async function requireRoom(containerId: ContainerId): Promise<void> {
    await forgetEnded(ports, containerId, false, live)
    if ((await running([containerId])) >= MOST_RUNNING) {
      throw new SlipwayError('exec.too-many', `${MOST_RUNNING} processes run in this container already: end one first.`)
    }
    if ((await running(await listExecContainers(ports))) >= MOST_ON_HOST) {
      throw new SlipwayError('exec.too-many', `${MOST_ON_HOST} processes run so on this host already: end one first.`)
    }
  }

  async function running(containers: readonly ContainerId[]): Promise<number> {
    const sessions = await Promise.all(containers.map(id => listExecs(ports, id)))
    return sessions.flat().filter(({ state }) => state === 'running').length
  }

  async function ended(order: Order<'exec-state'>, signal: AbortSignal): Promise<ExecSession> {
    const deadline = ports.clock.now() + order.waitMs
    for (let delayMs = 10; ; delayMs = Math.min(250, delayMs * 1.5)) {
      const session = await readExec(ports, order)
      const isOver = session.state === 'exited' || signal.aborted || ports.clock.now() >= deadline
      if (isOver) return session
      await ports.clock.sleep(delayMs, signal)
    }
  }

  async function resize(order: Order<'exec-resize'>): Promise<ExecSession> {
    const session = await readExec(ports, order)
    if (session.state === 'exited') throw new SlipwayError('exec.ended', `Session ${order.execId} has ended.`)
    if (!session.tty)
      throw new SlipwayError('exec.no-terminal', `Session ${order.execId} has no terminal: tty is false.`)
    await ports.execs.resize(execFolderOf(ports, order), order.size)
    return session
  }
}

/** Errors: `container.not-running`, `container.paused`. */
export async function requireRunning(
  ports: Pick<HostPorts, 'runtime' | 'containersFolder'>,
  wanted: Wanted,
  id: ContainerId,
): Promise<DesiredContainer> {
  const want = wanted(id)
  await requireCurrent(ports, want, id)
  const { state } = await ports.runtime.inspect(id)
  if (state === 'paused') {
    throw new SlipwayError('container.paused', `Container ${id} is paused: unpause it first.`)
  }
  if (want && state === 'running') return want
  throw new SlipwayError('container.not-running', `Container ${id} does not run: start it first.`)
}

/**
 * The run that goes on before an update begins is none that was asked for: who may do what was decided by the spec of now.
 * Errors: `container.not-running`.
 */
export async function requireCurrent(
  ports: Pick<HostPorts, 'containersFolder'>,
  want: DesiredContainer | undefined,
  id: ContainerId,
): Promise<void> {
  if (!want || !isStale(want.spec, await readRecord(join(ports.containersFolder, id)))) return
  throw new SlipwayError('container.not-running', `Container ${id} is being updated: wait until it runs anew.`)
}

/** Of a container that nobody wants any more nothing is remembered. */
async function forgetEnded(
  ports: ExecSessionPorts,
  containerId: ContainerId,
  isGone: boolean,
  live: ReadonlyMap<string, Live>,
): Promise<void> {
  const now = ports.clock.now()
  const sessions = await listExecs(ports, containerId)
  const ended = sessions.filter(({ state }) => state === 'exited')
  const isOld = ({ finishedAt, startedAt }: ExecSession, at: number) =>
    isGone || now - (finishedAt ?? startedAt) > KEEP_MS || at < ended.length - MOST_ENDED
  // What is live has output that nobody has read yet.
  const old = ended.filter((session, at) => isOld(session, at) && (isGone || !live.has(session.id)))
  for (const { id } of old) await forgetExec(ports, { containerId, execId: id })
  if (isGone && old.length === sessions.length) await forgetExecs(ports, containerId)
}
