import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { SlipwayError } from '#shared/errors.ts'

/** Where Debian has its programs; nothing else of our environment reaches a monitor. */
const PROGRAMS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Process id of the container's first process, or what the runtime said when there is none. */
export type MonitorResult = { pid: number } | { pid: undefined; message: string }

const SYNC_FD = 3
const START_FD = 4
const ATTACH_FD = 5
const DEADLINE_MS = 30_000
const OUTPUT_LIMIT = 64 * 1024

/**
 * Starts conmon, which starts the runtime and then lives on by itself: a session of its own, adopted by init. It says the
 * container's process id, or why there is none, as one line of JSON on the descriptor that `_OCI_SYNCPIPE` names.
 * Throws `host.command-failed` when the monitor itself cannot run, is killed or does not answer within 30 s.
 * `attach`: called once its socket is there, before it starts the runtime (conmon's `--exec-attach`), so that not a byte
 * is missed. What it throws is thrown here; the monitor has to be ended before.
 */
export function launchMonitor(
  program: string,
  args: readonly string[],
  attach?: () => Promise<void>,
): Promise<MonitorResult> {
  const { promise, resolve, reject } = Promise.withResolvers<MonitorResult>()
  const handOver = { _OCI_STARTPIPE: String(START_FD), _OCI_ATTACHPIPE: String(ATTACH_FD) }
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', ...(attach ? (['pipe', 'pipe'] as const) : [])],
    env: { PATH: PROGRAMS, _OCI_SYNCPIPE: String(SYNC_FD), ...(attach ? handOver : {}) },
    detached: true,
    cwd: '/',
  })
  let said = ''
  let errors = ''
  const sync = child.stdio[SYNC_FD]
  const letGo = () => {
    clearTimeout(timer)
    for (const pipe of pipesOf(child)) pipe?.destroy()
    child.unref()
  }
  const fail = (why: string) => {
    letGo()
    reject(new SlipwayError('host.command-failed', `${program} ${why}`, { facts: { program } }))
  }
  const finish = () => {
    const result = readSync(said)
    if (!result) return fail(errors || 'ended without a word')
    letGo()
    resolve(result.pid === undefined ? { ...result, message: result.message || errors } : result)
  }
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    fail(`did not answer within ${DEADLINE_MS / 1000} s`)
  }, DEADLINE_MS)
  child.on('error', error => fail(`could not run: ${error.message}`))
  child.stderr?.on('data', chunk => {
    if (errors.length < OUTPUT_LIMIT) errors += chunk
  })
  if (attach) {
    handShake(child, attach, error => {
      letGo()
      reject(error)
    })
  }
  sync?.on('data', chunk => {
    said += chunk
    if (said.includes('\n') || said.length > OUTPUT_LIMIT) finish()
  })
  sync?.on('error', () => {}) // Its end says enough.
  sync?.on('end', finish)
  return promise
}

/** It waits for a byte before it does anything, and once its socket is there for another. */
function handShake(child: ChildProcess, attach: () => Promise<void>, fail: (error: unknown) => void): void {
  const pipes = pipesOf(child)
  const start = pipes[START_FD]
  const go = () => start && 'write' in start && start.write('\0')
  for (const pipe of pipes.slice(START_FD)) pipe?.on('error', () => {}) // Its end is told elsewhere.
  pipes[ATTACH_FD]?.once('data', () => attach().then(go, fail))
  go()
}

const pipesOf = (child: ChildProcess): readonly (Readable | Writable | null | undefined)[] => child.stdio

function readSync(said: string): MonitorResult | undefined {
  try {
    const { data, message } = JSON.parse(said.split('\n')[0] ?? '')
    return typeof data === 'number' && data > 0 ? { pid: data } : { pid: undefined, message: String(message ?? '') }
  } catch {
    return undefined
  }
}
