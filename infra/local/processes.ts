import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemClock } from '#shared/ports/clock.ts'

export interface ProcessOptions {
  name: string
  command: string
  args: readonly string[]
  env?: Record<string, string>
  logPath: string
}

/**
 * A child of ours that is started again when it dies, until it is stopped or says that it cannot work as it is configured
 * (sysexits.h's EX_CONFIG). It gets SIGTERM should we die ourselves.
 */
export interface Supervised extends AsyncDisposable {
  readonly name: string
  pid(): number | undefined
  /** Resolves when it cannot work, to the reason. */
  readonly gaveUp: Promise<string>
  /** SIGTERM, SIGKILL after ten seconds; resolves when it is gone. */
  stop(): Promise<void>
}

const STOP_DEADLINE_MS = 10_000
const RESTART_DELAY_MS = 500
const EX_CONFIG = 78

export function supervise(options: ProcessOptions, onDeath: (how: string) => void): Supervised {
  let child: ChildProcess | undefined
  let isStopping = false
  const ended = Promise.withResolvers<void>()
  const gaveUp = Promise.withResolvers<string>()
  const launch = () => {
    if (isStopping) return ended.resolve()
    child = launchOnce(options)
    child.once('error', error => onDeath(`${options.name} could not start: ${error.message}`))
    child.once('close', (code, signal) => {
      if (isStopping) return ended.resolve()
      if (code === EX_CONFIG) {
        isStopping = true
        gaveUp.resolve(lastMessage(options.logPath))
        return ended.resolve()
      }
      onDeath(`${options.name} ended (${signal ?? `exit code ${code}`}); starting it again, see ${options.logPath}`)
      setTimeout(launch, RESTART_DELAY_MS)
    })
  }
  launch()
  const stop = async () => {
    isStopping = true
    child?.kill('SIGTERM')
    const timer = setTimeout(() => child?.kill('SIGKILL'), STOP_DEADLINE_MS)
    await ended.promise
    clearTimeout(timer)
  }
  return { name: options.name, pid: () => child?.pid, gaveUp: gaveUp.promise, stop, [Symbol.asyncDispose]: stop }
}

function launchOnce(options: ProcessOptions): ChildProcess {
  mkdirSync(dirname(options.logPath), { recursive: true })
  const log = openSync(options.logPath, 'a', 0o600)
  try {
    // A session of its own keeps the terminal's Ctrl-C from it: we decide the order in which things stop.
    return spawn('setpriv', ['--pdeathsig', 'TERM', options.command, ...options.args], {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', log, log],
      detached: true,
    })
  } finally {
    closeSync(log)
  }
}

/** Of a log with a JSON object a line. */
function lastMessage(logPath: string): string {
  const line = readFileSync(logPath, 'utf8').trim().split('\n').at(-1) ?? ''
  try {
    return String(JSON.parse(line).msg)
  } catch {
    return line
  }
}

/** Polls until `check` holds; false when the deadline passed first. */
export async function waitUntil(check: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = systemClock.now() + timeoutMs
  while (systemClock.now() < deadline) {
    if (await check()) return true
    await systemClock.sleep(50)
  }
  return false
}
