import { run } from './run.ts'

/** The unit of `find`'s blocks, whatever the disk's own. */
const BLOCK_BYTES = 512
const TIMEOUT_MS = 10 * 60_000

/** Bytes that a folder with all that is in it takes on its disk; a file of several names counts once. */
export async function diskUsage(path: string): Promise<number> {
  const printed = await run('du', ['-s', '-x', '--block-size=1', '--', path], { timeoutMs: TIMEOUT_MS })
  return Number.parseInt(printed, 10)
}

/** Of these, the bytes that folders themselves take. */
export async function foldersUsage(path: string): Promise<number> {
  const terms = ['-xdev', '-ignore_readdir_race', '-type', 'd', '-printf', '%b\\n']
  const printed = await run('find', [path, ...terms], { timeoutMs: TIMEOUT_MS })
  return printed.split('\n').reduce((bytes, blocks) => bytes + Number(blocks) * BLOCK_BYTES, 0)
}
