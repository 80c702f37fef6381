import { spawn } from 'node:child_process'
import { takeDescriptor } from './packet-calls.ts'
import { commandLine, signalProcess } from './process.ts'

/**
 * A connection that outlives this process: a child of ours that does nothing has it as its stdin, so that whoever is at
 * the other end sees no end of it, and what was not read stays in the kernel. It goes by itself a minute after `pid`.
 */
const PROGRAM = 'tail'
const LOOK_EVERY_S = 60

/** Returns the process that holds it; undefined where it could not be started, which costs what it is for alone. */
export function holdSocket(fd: number, pid: number): number | undefined {
  const args = ['-f', '/dev/null', '-s', String(LOOK_EVERY_S), markOf(pid)]
  const child = spawn(PROGRAM, args, { stdio: [fd, 'ignore', 'ignore'], detached: true, cwd: '/', env: PATH })
  child.on('error', () => {})
  child.unref()
  return child.pid
}

/** The same connection for this process too, which closes it. Errors: `host.kernel-refused`. */
export function takeHeld(holder: number): number {
  return takeDescriptor(holder, 0)
}

/** Whether the process is still there and holds for `pid`: numbers are given again. */
export function holds(holder: number, pid: number): boolean {
  return commandLine(holder).includes(markOf(pid))
}

export function letGo(holder: number, pid: number): void {
  if (holds(holder, pid)) signalProcess(holder, 'SIGKILL')
}

const markOf = (pid: number) => `--pid=${pid}`
const PATH = { PATH: '/usr/bin:/bin' }
