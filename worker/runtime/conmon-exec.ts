import { constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, open, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '#shared/ports/clock.ts'
import { holdSocket, holds, letGo, takeHeld } from '#worker/host/held-socket.ts'
import { launchMonitor } from '#worker/host/monitor.ts'
import { type PacketSocket, packetSockets } from '#worker/host/packet-socket.ts'
import { commandLine, processFacts, signalProcess } from '#worker/host/process.ts'
import { programPath } from '#worker/host/run.ts'
import { configText } from './config-text.ts'
import type { Attachment, ExecRuntime, ExecStart } from './exec-runtime.ts'
import { readExit, readPid } from './monitor-files.ts'
import { startFailure } from './start-failure.ts'

export interface ConmonExecOptions {
  program: 'crun' | 'runc'
  runFolder: string
}

/** What conmon marks its packets with. */
const STDERR_MARK = 3
/** For a monitor to end after its process was killed. */
const END_MS = 2000

/** `conmon --exec`: one monitor a session, which outlives the agent. */
export async function openConmonExec({ program, runFolder }: ConmonExecOptions): Promise<ExecRuntime> {
  const root = join(runFolder, program)
  const programFile = await programPath(program)
  const sockets = packetSockets()
  const attach = (folder: string) => {
    const held = heldBy(folder)
    const socket = held ? sockets.adopt(takeHeld(held.holder)) : sockets.connect(folder, 'attach')
    return attachment(socket, () => release(folder))
  }
  const connected = (folder: string) => attachment(sockets.connect(folder, 'attach'), () => release(folder))

  return {
    start: async order => {
      await mkdir(join(order.folder, EXITS), { recursive: true, mode: 0o700 })
      const spec = join(order.folder, 'process.json')
      await writeFile(spec, configText(order.process), { mode: 0o600 })
      let attached: HoldableAttachment | undefined
      const args = monitorArgs(order, spec)
      try {
        const connect = async () => {
          try {
            attached = connected(order.folder)
          } catch (error) {
            await end(order.folder) // Left alone it would go on without us.
            throw error
          }
        }
        const result = await launchMonitor('conmon', args, order.isDetached ? undefined : connect)
        if (result.pid === undefined) throw startFailure(program, result.message)
      } catch (error) {
        attached?.close()
        throw error
      }
      const monitor = await monitorOf(order.folder)
      if (attached && monitor !== undefined) hold(order.folder, attached.fd, monitor)
      return attached
    },
    attach,
    isHeld: folder => heldBy(folder) !== undefined,
    inspect: async folder => {
      const ended = () => exitFile(folder).then(readExit)
      const exit = await ended()
      if (exit) return { state: 'exited', ...exit }
      const pid = await readPid(join(folder, 'pid'))
      if (pid === undefined) return { state: 'absent' }
      if (await monitorOf(folder)) return { state: 'running', pid }
      // It may have written how just after we looked.
      return { state: 'exited', ...((await ended()) ?? { exitCode: undefined, finishedAt: undefined }) }
    },
    resize: async (folder, { columns, rows }) => {
      const control = await open(join(folder, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined)
      if (!control) return
      try {
        await control.write(`1 ${rows} ${columns}\n`)
      } finally {
        await control.close()
      }
    },
    end,
  }

  function monitorArgs({ containerId, folder, process, hasStdin, isDetached }: ExecStart, spec: string): string[] {
    return [
      ...['--api-version', '1', '--exec', '-c', containerId, '-u', containerId, '-n', containerId, '-r', programFile],
      ...['-b', folder, '--full-attach', '-p', join(folder, 'pid'), '-P', join(folder, 'monitor')],
      ...['--exec-process-spec', spec, '--exit-dir', join(folder, EXITS), '-l', 'none', '--no-sync-log'],
      ...(isDetached ? [] : ['--exec-attach']),
      // A terminal's end is typed (^D): its stdin outlives whoever was attached.
      ...(process.terminal ? ['-t', '-i', '--leave-stdin-open'] : hasStdin ? ['-i'] : []),
      ...['--runtime-arg', '--root', '--runtime-arg', root],
    ]
  }
}

/** Holds one file, which conmon names after the container. */
const EXITS = 'exits'

async function exitFile(folder: string): Promise<string> {
  const [name = 'none'] = await readdir(join(folder, EXITS)).catch(() => [])
  return join(folder, EXITS, name)
}

/** Who holds the connection of a session, for an agent to come. */
function hold(folder: string, fd: number, monitor: number): void {
  const holder = holdSocket(fd, monitor)
  if (holder !== undefined) writeFileSync(join(folder, 'holder'), `${holder} ${monitor}`, { mode: 0o600 })
}

function heldBy(folder: string): { holder: number; monitor: number } | undefined {
  const path = join(folder, 'holder')
  const [holder, monitor] = existsSync(path) ? readFileSync(path, 'utf8').split(' ').map(Number) : []
  return holder && monitor && holds(holder, monitor) ? { holder, monitor } : undefined
}

function release(folder: string): void {
  const held = heldBy(folder)
  rmSync(join(folder, 'holder'), { force: true }) // It is told to end, which takes a moment.
  if (held) letGo(held.holder, held.monitor)
}

async function end(folder: string): Promise<void> {
  release(folder) // Or its monitor would wait for who reads what is left.
  const monitor = await monitorOf(folder)
  if (monitor === undefined) return
  const pid = await readPid(join(folder, 'pid'))
  // The number is the process's for as long as its monitor has not waited for it.
  if (pid !== undefined && processFacts(pid) !== undefined) signalProcess(pid, 'SIGKILL')
  const deadline = systemClock.now() + (pid === undefined ? 0 : END_MS)
  while (await monitorOf(folder)) {
    if (systemClock.now() >= deadline) return void signalProcess(monitor, 'SIGKILL')
    await systemClock.sleep(20)
  }
}

async function monitorOf(folder: string): Promise<number | undefined> {
  const pid = await readPid(join(folder, 'monitor'))
  return pid !== undefined && commandLine(pid).includes(folder) ? pid : undefined
}

type HoldableAttachment = Attachment & { fd: number }

function attachment(socket: PacketSocket, release: () => void): HoldableAttachment {
  return {
    output: async function* (signal) {
      for await (const message of socket.read(signal)) {
        yield { channel: message[0] === STDERR_MARK ? 'stderr' : 'stdout', bytes: message.subarray(1), message }
      }
    },
    write: socket.write,
    endInput: socket.end,
    close: () => {
      release()
      socket.close()
    },
    fd: socket.fd,
    get isEnded() {
      return socket.isEnded
    },
  }
}
