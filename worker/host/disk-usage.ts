import { run } from './run.ts'

const TIMEOUT_MS = 10 * 60_000

/** Bytes that a folder with all that is in it takes on its disk; a file of several names counts once. */
export async function diskUsage(path: string): Promise<number> {
  const printed = await run('du', ['-s', '-x', '--block-size=1', '--', path], { timeoutMs: TIMEOUT_MS })
  return Number.parseInt(printed, 10)
}
