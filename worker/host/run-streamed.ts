import { spawn } from 'node:child_process'
import { SlipwayError } from '#shared/errors.ts'
import type { RunOptions } from './run.ts'

const ERROR_OUTPUT_LIMIT = 64 * 1024

/**
 * What a program prints, as it comes, without a shell; its input is empty. A reader that leaves ends it. Throws
 * `host.command-failed`, with what it said in `facts.stderr`, when it fails, cannot start or outlives its deadline.
 */
export async function* runStreamed(
  program: string,
  args: readonly string[],
  options: Omit<RunOptions, 'input' | 'env'> & { env: Record<string, string>; timeoutMs: number },
): AsyncGenerator<Uint8Array> {
  const { cwd, env, timeoutMs, signal } = options
  const child = spawn(program, args, {
    ...{ cwd, env, timeout: timeoutMs, signal, killSignal: 'SIGKILL' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    if (said.length < ERROR_OUTPUT_LIMIT) said += chunk.toString()
  })
  const failed = (why: string, cause?: unknown) =>
    new SlipwayError('host.command-failed', `${program} ${why}.`, { cause, facts: { program, stderr: said } })
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', error => reject(failed(`could not run: ${error.message}`, error)))
    child.on('close', code => (code === 0 ? resolve() : reject(failed(`ended with ${code ?? 'a signal'}`))))
  })
  ended.catch(() => {}) // Told below, to who reads to the end.
  try {
    yield* child.stdout
    await ended
  } finally {
    child.kill('SIGKILL')
  }
}
