import { SlipwayError } from '#shared/errors.ts'
import { type RunOptions, runAny } from './run.ts'

/**
 * Runs a program that fills the disk and must succeed. Errors: `host.disk-full` where it says that there is no room,
 * `host.command-failed`.
 */
export async function runOnDisk(program: string, args: readonly string[], options: RunOptions = {}): Promise<void> {
  const { exitCode, stderr } = await runAny('env', ['LC_ALL=C', program, ...args], options)
  if (exitCode === 0) return
  // Programs have no other way to tell; untranslated, because of LC_ALL.
  if (/no space left on device|disk quota exceeded/i.test(stderr)) {
    throw new SlipwayError('host.disk-full', 'The disk of this host is full: free some space on it.')
  }
  const why = stderr.trim().slice(0, 500) || 'it said nothing'
  throw new SlipwayError('host.command-failed', `${program} failed with exit code ${exitCode}: ${why}`)
}
