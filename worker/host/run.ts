import { spawn } from 'node:child_process'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'

export interface RunOptions {
  /** Text for standard input; without it the input is empty. */
  input?: string | undefined
  cwd?: string | undefined
  env?: Record<string, string> | undefined
  timeoutMs?: number | undefined
  signal?: AbortSignal | undefined
}

export interface RunResult {
  exitCode: number
  stdout: string
  stderr: string
}

const DEFAULT_TIMEOUT_MS = 30_000
const OUTPUT_LIMIT = 4 * 1024 * 1024

/**
 * Runs a program to its end without a shell. Any exit code is a result; throws `host.command-failed` when it cannot
 * start, ends by a signal, outlives its deadline (it is killed; `facts.isOverdue`) or prints more than 4 MiB.
 */
export function runAny(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { promise, resolve, reject } = Promise.withResolvers<RunResult>()
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    killSignal: 'SIGKILL',
    signal: options.signal,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[], size: 0 }
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  let isOverdue = false
  const timer = setTimeout(() => {
    isOverdue = child.kill('SIGKILL')
  }, timeoutMs)
  const fail = (why: string, cause?: unknown) => {
    clearTimeout(timer)
    const facts = { program, args, isOverdue }
    reject(new SlipwayError('host.command-failed', `${program} ${why}.`, { cause, facts }))
  }
  const collect = (chunks: Buffer[]) => (chunk: Buffer) => {
    chunks.push(chunk)
    output.size += chunk.length
    if (output.size > OUTPUT_LIMIT) child.kill('SIGKILL')
  }
  child.stdout.on('data', collect(output.stdout))
  child.stderr.on('data', collect(output.stderr))
  child.stdin.on('error', () => {}) // The program may end before it read everything: its exit code tells.
  child.stdin.end(options.input ?? '')
  child.on('error', error => fail(`could not run: ${error.message}`, error))
  child.on('close', (exitCode, signal) => {
    clearTimeout(timer)
    if (isOverdue) return fail(`took longer than ${timeoutMs / 1000} s and was killed`)
    if (output.size > OUTPUT_LIMIT) return fail(`printed more than ${sizeInWords(OUTPUT_LIMIT)} and was killed`)
    if (exitCode === null)
      return fail(`was ended by ${signal ?? 'an unknown signal'}: see whether the host is short of memory`)
    const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString()
    resolve({ exitCode, stdout: text(output.stdout), stderr: text(output.stderr) })
  })
  return promise
}

/** Runs a program that must succeed and returns what it printed; its error output becomes the failure's sentence. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await runAny(program, args, options)
  if (result.exitCode === 0) return result.stdout
  const why = result.stderr.trim().slice(0, 2000) || 'it said nothing'
  throw new SlipwayError('host.command-failed', `${program} failed with exit code ${result.exitCode}: ${why}`, {
    facts: { program, args, exitCode: result.exitCode },
  })
}

/** Where the shell finds a program: in PATH, as `run` does. Throws `host.command-failed` when it does not. */
export async function programPath(program: string): Promise<string> {
  return (await run('sh', ['-c', 'command -v "$0"', program])).trim()
}
