import { stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { removeDurable } from './durable-file.ts'
import { run } from './run.ts'

const MOST_BYTES = 64 * 1024 ** 2
const TIMEOUT_MS = 60_000
/** What stat(2) counts blocks in. */
const SECTOR = 512

/**
 * A file of up to 64 MiB (a hundredth of the disk) that is there to be given up: where others fill the disk to its last
 * block, the agent has room to write down what it does, and to remove what nobody needs.
 */
export interface DiskReserve {
  /** Gives the file up when next to nothing is free, and takes the room again once twice of it is free. */
  keep(): Promise<'kept' | 'given up'>
}

export function openDiskReserve(folder: string): DiskReserve {
  const path = join(folder, 'reserve')
  return {
    keep: async () => {
      const { blocks, bavail, bsize } = await statfs(folder)
      const size = Math.min(Math.floor((blocks * bsize) / 100), MOST_BYTES)
      const free = bavail * bsize
      const found = await stat(path).catch(() => undefined)
      const isThere = found !== undefined && found.blocks * SECTOR >= size / 2
      if (isThere && free >= size / 4) return 'kept'
      if (isThere) await removeDurable(path)
      if (isThere || free <= 2 * size) return 'given up'
      // Not a file with a hole: only blocks that are its own can be given up.
      await run('fallocate', ['-l', String(size), path], { timeoutMs: TIMEOUT_MS }).catch(async (error: unknown) => {
        await removeDurable(path) // One without its blocks would be no reserve, and be taken for one.
        throw error
      })
      return 'kept'
    },
  }
}
