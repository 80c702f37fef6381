import { readFile } from 'node:fs/promises'

/** A name for this run of the kernel (random(4)): another one means that what was not written to disk is lost. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}
