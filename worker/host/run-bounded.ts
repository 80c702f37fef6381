import { type ChildProcess, spawn } from 'node:child_process'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'

export interface BoundedOptions {
  env: Record<string, string>
  timeoutMs: number
  /** Of what it prints on both outputs, from the beginning; the rest is read and dropped. */
  outputBytes: number
  signal: AbortSignal
  /** Ends what the program began, when its time is over or nobody waits for it any more; it itself is killed afterwards. */
  end(pid: number): Promise<void>
}

export interface BoundedResult {
  /** Undefined where a signal ended it. */
  exitCode: number | undefined
  isOverdue: boolean
  output: string
}

/** For what is in the pipes when a program has ended; what it left behind may hold them open for ever. */
const DRAIN_MS = 100

/** Runs a program that may be slow or talkative. Throws `host.command-failed` when it cannot start. */
export async function runBounded(
  program: string,
  args: readonly string[],
  options: BoundedOptions,
): Promise<BoundedResult> {
  const child = spawn(program, args, { env: options.env, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = collect(child, options.outputBytes)
  const closed = new Promise<void>(resolve => child.once('close', () => resolve()))
  const over = new AbortController()
  const exited = new Promise<number | undefined>((resolve, reject) => {
    child.once('exit', code => resolve(code ?? undefined))
    child.once('error', cause =>
      reject(new SlipwayError('host.command-failed', `${program} could not run: ${cause.message}.`, { cause })),
    )
  }).finally(() => over.abort())
  exited.catch(() => {}) // Met below.
  await systemClock.sleep(options.timeoutMs, AbortSignal.any([options.signal, over.signal]))
  const isOverdue = !over.signal.aborted
  if (isOverdue && child.pid !== undefined) {
    await options.end(child.pid)
    child.kill('SIGKILL')
  }
  const exitCode = await exited
  await Promise.race([closed, systemClock.sleep(DRAIN_MS)])
  child.stdout.destroy()
  child.stderr.destroy()
  return { exitCode, isOverdue, output: output() }
}

function collect({ stdout, stderr }: ChildProcess, limit: number): () => string {
  const pieces: Buffer[] = []
  let size = 0
  const take = (piece: Buffer) => {
    if (size >= limit) return
    pieces.push(piece.subarray(0, limit - size))
    size += piece.length
  }
  stdout?.on('data', take)
  stderr?.on('data', take)
  return () => Buffer.concat(pieces).toString()
}
