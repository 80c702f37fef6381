import { SlipwayError } from '#shared/errors.ts'
import { runAny } from './run.ts'

const TIMEOUT_MS = 15 * 60_000

/**
 * Copies a folder to a name that is not there yet: owners, modes, times, attributes, links, holes and devices. coreutils'
 * cp does it, beside the event loop, and shares the files' blocks where the filesystem can. Errors: `host.disk-full`,
 * `host.command-failed`.
 */
export async function copyTree(from: string, to: string): Promise<void> {
  const args = ['LC_ALL=C', 'cp', '-a', '-T', '--reflink=auto', '--', from, to]
  const { exitCode, stderr } = await runAny('env', args, { timeoutMs: TIMEOUT_MS })
  if (exitCode === 0) return
  // The program has no other way to tell; untranslated, because of LC_ALL.
  if (/no space left on device|disk quota exceeded/i.test(stderr)) {
    throw new SlipwayError('host.disk-full', 'The disk of this host is full: free some space on it.')
  }
  throw new SlipwayError('host.command-failed', `cp failed with exit code ${exitCode}: ${stderr.slice(0, 500)}`)
}
