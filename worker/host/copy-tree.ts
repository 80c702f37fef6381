import { runOnDisk } from './run-on-disk.ts'

const TIMEOUT_MS = 15 * 60_000

/**
 * Copies a folder to a name that is not there yet: owners, modes, times, attributes, links, holes and devices. coreutils'
 * cp does it, beside the event loop, and shares the files' blocks where the filesystem can. Errors: `host.disk-full`,
 * `host.command-failed`.
 */
export async function copyTree(from: string, to: string): Promise<void> {
  await runOnDisk('cp', ['-a', '-T', '--reflink=auto', '--', from, to], { timeoutMs: TIMEOUT_MS })
}
