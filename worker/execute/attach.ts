import type { DesiredContainer } from '#shared/domain/container.ts'
import type { TerminalSize } from '#shared/domain/exec.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { AttachOrder } from '#shared/protocol/bus.ts'
import { CHANNEL, exitStatus, readResize, textMessage } from '#shared/protocol/channels.ts'
import type { Attachment } from '../runtime/exec-runtime.ts'
import { type ExecKey, execFolderOf, readExec } from './exec-record.ts'
import { type ExecSessionPorts, type ExecSessions, type Live, requireCurrent, requireRunning } from './exec-sessions.ts'

type Pieces = AsyncGenerator<Uint8Array, void>
type Wanted = (id: ContainerId) => DesiredContainer | undefined

/** Between a process's last byte and the file that says how it ended. */
const EXIT_MS = 5000

/**
 * Messages of `channels.ts` to and from a process until it has ended or the client has gone, which `input` says by its
 * end. Errors: `exec.*`, `container.*`.
 */
export function openAttach(
  order: AttachOrder,
  ports: ExecSessionPorts,
  sessions: ExecSessions,
  wanted: Wanted,
  input: Pieces,
  signal: AbortSignal,
): Pieces {
  return order.kind === 'attach'
    ? attachContainer(ports, wanted, order.containerId, input, signal)
    : attachExec(ports, sessions, wanted, order, input, signal)
}

async function* attachExec(
  ports: ExecSessionPorts,
  sessions: ExecSessions,
  wanted: Wanted,
  key: ExecKey,
  input: Pieces,
  signal: AbortSignal,
): Pieces {
  await requireCurrent(ports, wanted(key.containerId), key.containerId)
  const session = await readExec(ports, key)
  const folder = execFolderOf(ports, key)
  if (session.error) yield textMessage(CHANNEL.stderr, `${session.error.message}\n`)
  const live =
    sessions.live.get(key.execId) ??
    (session.state === 'running' || ports.execs.isHeld(folder) ? sessions.adopt(key) : undefined)
  if (live) {
    live.client?.abort(new SlipwayError('exec.taken-over', 'Somebody else has attached to this session.'))
    const client = new AbortController()
    live.client = client
    try {
      const resize = (size: TerminalSize) => (session.tty ? ports.execs.resize(folder, size) : Promise.resolve())
      yield* converse(live.attachment, { input, signal, client, resize, canEnd: !session.tty })
    } finally {
      if (live.client === client) leave(live)
    }
    if (!live.attachment.isEnded) return
  }
  yield exitStatus(await exitCodeOf())

  function leave(left: Live): void {
    left.client = undefined
    left.lonelySince = ports.clock.now()
    if (!left.attachment.isEnded) return
    sessions.live.delete(key.execId)
    left.attachment.close()
  }

  async function exitCodeOf(): Promise<number | undefined> {
    return written(ports, async () => {
      const { state, exitCode } = await readExec(ports, key)
      return state === 'exited' ? { exitCode } : undefined
    })
  }
}

/** Several may be attached to a container's first process at once. */
async function* attachContainer(
  ports: ExecSessionPorts,
  wanted: Wanted,
  id: ContainerId,
  input: Pieces,
  signal: AbortSignal,
): Pieces {
  const { spec } = await requireRunning(ports, wanted, id)
  const folder = `${ports.containersFolder}/${id}`
  const attachment = ports.execs.attach(folder)
  try {
    const resize = (size: TerminalSize) => (spec.tty ? ports.execs.resize(folder, size) : Promise.resolve())
    const heard = spec.stdin ? input : withoutStdin(input)
    const canEnd = spec.stdinOnce === true && !spec.tty
    yield* converse(attachment, { input: heard, signal, client: new AbortController(), resize, canEnd })
    if (!attachment.isEnded) return
    const exitCode = await written(ports, async () => {
      const seen = await ports.runtime.inspect(id)
      return seen.state === 'exited' ? { exitCode: seen.exitCode } : undefined
    })
    yield exitStatus(exitCode)
  } finally {
    attachment.close()
  }
}

/** A terminal that takes no input would take it all the same. */
async function* withoutStdin(input: Pieces): Pieces {
  for await (const message of input) if (message[0] !== CHANNEL.stdin) yield message
}

interface Conversation {
  input: Pieces
  signal: AbortSignal
  /** Aborted with a reason where the client is sent away, without one where it has gone. */
  client: AbortController
  resize(size: TerminalSize): Promise<void>
  canEnd: boolean
}

async function* converse(attachment: Attachment, conversation: Conversation): Pieces {
  const { signal, client } = conversation
  const over = AbortSignal.any([signal, client.signal])
  const reading = hear(attachment, conversation).finally(() => client.abort())
  reading.catch(() => {}) // A client that was cut off has gone like any other.
  for await (const { channel, message } of attachment.output(over)) {
    message[0] = CHANNEL[channel]
    yield message
  }
  if (client.signal.reason instanceof SlipwayError) throw client.signal.reason
}

/** What the client sends, until it has gone. */
async function hear(attachment: Attachment, { input, resize, canEnd }: Conversation): Promise<void> {
  for await (const message of input) {
    const bytes = message.subarray(1)
    if (message[0] === CHANNEL.stdin) await attachment.write(bytes)
    if (message[0] === CHANNEL.close && bytes[0] === CHANNEL.stdin && canEnd) attachment.endInput()
    const size = message[0] === CHANNEL.resize ? readResize(bytes) : undefined
    if (size) await resize(size)
  }
}

/** How a process ended, once it is written. */
async function written(
  { clock }: Pick<ExecSessionPorts, 'clock'>,
  read: () => Promise<{ exitCode: number | undefined } | undefined>,
): Promise<number | undefined> {
  const deadline = clock.now() + EXIT_MS
  for (;;) {
    const found = await read()
    if (found || clock.now() > deadline) return found?.exitCode
    await clock.sleep(10)
  }
}
