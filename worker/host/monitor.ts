import { spawn } from 'node:child_process'

/** Where Debian has its programs; nothing else of our environment reaches a monitor. */
const PROGRAMS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface MonitorResult {
  /** Process id of the container's first process. */
  pid: number | undefined
  /** What the monitor or the runtime said when there is none. */
  message: string
}

const SYNC_FD = 3
const DEADLINE_MS = 30_000
const OUTPUT_LIMIT = 64 * 1024

/**
 * Starts conmon, which starts the runtime and then lives on by itself: a session of its own, adopted by init. It says the
 * container's process id, or why there is none, as one line of JSON on the descriptor that `_OCI_SYNCPIPE` names.
 */
export function launchMonitor(program: string, args: readonly string[]): Promise<MonitorResult> {
  const { promise, resolve } = Promise.withResolvers<MonitorResult>()
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: { PATH: PROGRAMS, _OCI_SYNCPIPE: String(SYNC_FD) },
    detached: true,
    cwd: '/',
  })
  let said = ''
  let errors = ''
  const sync = child.stdio[SYNC_FD]
  const finish = (result: MonitorResult) => {
    clearTimeout(timer)
    sync?.destroy()
    child.stderr?.destroy()
    child.unref()
    resolve(result)
  }
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    finish({ pid: undefined, message: `${program} did not answer within ${DEADLINE_MS / 1000} s` })
  }, DEADLINE_MS)
  child.on('error', error => finish({ pid: undefined, message: `${program} could not run: ${error.message}` }))
  child.stderr?.on('data', chunk => {
    if (errors.length < OUTPUT_LIMIT) errors += chunk
  })
  sync?.on('data', chunk => {
    said += chunk
    if (said.includes('\n') || said.length > OUTPUT_LIMIT) finish(readSync(said, errors))
  })
  sync?.on('error', () => {}) // Its end says enough.
  sync?.on('end', () => finish(readSync(said, errors)))
  return promise
}

function readSync(said: string, errors: string): MonitorResult {
  try {
    const { data, message } = JSON.parse(said.split('\n')[0] ?? '')
    if (typeof data === 'number' && data > 0) return { pid: data, message: '' }
    return { pid: undefined, message: String(message ?? errors) }
  } catch {
    return { pid: undefined, message: errors || 'the monitor ended without a word' }
  }
}
