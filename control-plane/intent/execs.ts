import { type ExecSession, execSessionSchema } from '#shared/domain/exec.ts'
import { type ContainerId, type ExecId, type HostId, isId, newId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ExecOrder } from '#shared/protocol/bus.ts'
import { CHANNEL, channelMessage } from '#shared/protocol/channels.ts'
import type { CreateExec, ExecView } from '#shared/protocol/exec.ts'
import type { Ports } from '../ports.ts'
import type { ContainerOnHost } from '../store/containers.ts'
import { envList } from './container-spec.ts'
import { requireContainer } from './containers.ts'
import { linesOf, streamFromHost, talkToHost } from './host-stream.ts'

/** Sessions are their host's: what is asked of one is asked there. */
export interface ExecAt {
  hostId: HostId
  containerId: ContainerId
  execId: ExecId
}

/** It goes to the host as one message of the bus. */
const SPEC_BYTES = 512 * 1024
/** Of each of stdout and stderr, in an answer. */
const OUTPUT_BYTES = 1024 * 1024

/** Errors: `container.not-found`; `exec.not-found` for what is no id. */
export async function findExec(ports: Ports, container: string, execId: string): Promise<ExecAt> {
  const found = await requireContainer(ports, container)
  if (!isId(execId)) throw new SlipwayError('exec.not-found', `There is no exec session ${execId}.`)
  return at(found, execId as ExecId)
}

/** Runs a process in a container. Errors: `container.not-running`, `container.paused`, `container.user-not-found`, `exec.too-many`, `request.too-large`. */
export async function startExec(
  ports: Ports,
  container: string,
  asked: CreateExec,
  signal: AbortSignal,
): Promise<{ at: ExecAt; session: ExecView }> {
  const where = at(await requireContainer(ports, container), newId<ExecId>(ports.random))
  const spec = {
    ...{ command: asked.command, tty: asked.tty ?? false, isDetached: asked.detach ?? false },
    ...{ stdin: asked.stdin ?? asked.input !== undefined, env: envList(asked.env) },
    ...(asked.user === undefined ? {} : { user: asked.user }),
    ...(asked.workdir === undefined ? {} : { workdir: asked.workdir }),
    ...(asked.size === undefined ? {} : { size: asked.size }),
  }
  if (new TextEncoder().encode(JSON.stringify(spec)).length > SPEC_BYTES) {
    throw new SlipwayError('request.too-large', 'command and env are too much together: half a megabyte is the most.')
  }
  const [session] = await ask(ports, where.hostId, { kind: 'exec', ...idsOf(where), spec }, signal)
  return { at: where, session: one(session) }
}

/** A session, with a wait once it has ended. Errors: `exec.not-found`, `request.timeout`. */
export async function inspectExec(ports: Ports, where: ExecAt, waitMs: number, signal: AbortSignal): Promise<ExecView> {
  // A host may take its time for an end, and says so meanwhile.
  const [session] = await ask(ports, where.hostId, { kind: 'exec-state', ...idsOf(where), waitMs }, signal)
  return one(session)
}

export async function listExecs(ports: Ports, container: string, signal: AbortSignal): Promise<ExecView[]> {
  const { container: row, host } = await requireContainer(ports, container)
  return ask(ports, host.id, { kind: 'exec-list', containerId: row.id }, signal)
}

export async function resizeExec(
  ports: Ports,
  where: ExecAt,
  size: { columns: number; rows: number },
  signal: AbortSignal,
): Promise<ExecView> {
  const [session] = await ask(ports, where.hostId, { kind: 'exec-resize', ...idsOf(where), size }, signal)
  return one(session)
}

/** What a process that was just begun writes, and how it ends; after the time what it wrote until then. */
export async function outputOfExec(
  ports: Ports,
  where: ExecAt,
  input: string | undefined,
  timeoutMs: number,
  gone: AbortSignal,
): Promise<ExecView> {
  const timer = new AbortController()
  const late = new AbortController()
  ports.clock.sleep(timeoutMs, AbortSignal.any([timer.signal, gone])).then(() => late.abort())
  const signal = AbortSignal.any([late.signal, gone])
  const collected = { [CHANNEL.stdout]: collector(), [CHANNEL.stderr]: collector() }
  try {
    const order = { kind: 'exec-attach', ...idsOf(where) } as const
    const messages = talkToHost(ports, where.hostId, order, over => inputOnce(input, over), {
      signal,
      isPatient: false,
    })
    for await (const message of messages) {
      const [channel] = message
      if (channel === CHANNEL.stdout || channel === CHANNEL.stderr) collected[channel].take(message.subarray(1))
    }
  } finally {
    timer.abort()
  }
  const { stdout, stderr } = { stdout: collected[CHANNEL.stdout], stderr: collected[CHANNEL.stderr] }
  const session = await inspectExec(ports, where, 0, gone)
  const isTruncated = stdout.isCut() || stderr.isCut()
  return { ...session, stdout: stdout.text(), stderr: stderr.text(), ...(isTruncated ? { isTruncated } : {}) }
}

/** Its whole stdin and its end; then it stays, since whoever goes is no longer told. */
async function* inputOnce(input: string | undefined, over: AbortSignal): AsyncGenerator<Uint8Array, void> {
  const bytes = new TextEncoder().encode(input ?? '')
  for (let at = 0; at < bytes.length; at += 65_536) {
    yield channelMessage(CHANNEL.stdin, bytes.subarray(at, at + 65_536))
  }
  yield channelMessage(CHANNEL.close, Uint8Array.of(CHANNEL.stdin))
  if (!over.aborted) await new Promise(resolve => over.addEventListener('abort', resolve))
}

function collector() {
  const pieces: Uint8Array[] = []
  let kept = 0
  let isCut = false
  return {
    take: (bytes: Uint8Array) => {
      const piece = bytes.slice(0, OUTPUT_BYTES - kept)
      isCut ||= piece.length < bytes.length
      kept += piece.length
      if (piece.length > 0) pieces.push(piece)
    },
    isCut: () => isCut,
    text: () => {
      const decoder = new TextDecoder()
      return pieces.map(piece => decoder.decode(piece, { stream: true })).join('') + decoder.decode()
    },
  }
}

const idsOf = ({ containerId, execId }: ExecAt) => ({ containerId, execId })
const at = ({ container, host }: ContainerOnHost, execId: ExecId): ExecAt => ({
  ...{ hostId: host.id, containerId: container.id, execId },
})

async function ask(ports: Ports, hostId: HostId, order: ExecOrder, signal: AbortSignal): Promise<ExecView[]> {
  const sessions: ExecView[] = []
  for await (const lines of linesOf(streamFromHost(ports, hostId, order, signal))) {
    for (const line of lines) sessions.push(view(execSessionSchema.parse(JSON.parse(line))))
  }
  return sessions
}

function one(session: ExecView | undefined): ExecView {
  if (session) return session
  throw new SlipwayError('host.unreachable', 'The host gave no answer: see that its agent runs (GET /v1/hosts).')
}

function view({ containerId, startedAt, finishedAt, ...session }: ExecSession): ExecView {
  const time = (ms: number) => new Date(ms).toISOString()
  return {
    ...session,
    container: containerId,
    startedAt: time(startedAt),
    ...(finishedAt === undefined ? {} : { finishedAt: time(finishedAt) }),
  }
}
