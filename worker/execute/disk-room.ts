import { statfsSync } from 'node:fs'
import { leastFreeBytes } from '#shared/domain/host.ts'
import { SlipwayError } from '#shared/errors.ts'

const MEGABYTE = 1_000_000

/** Before work that fills the disk: a pull, a build. Errors: `host.disk-full`, which passes once room is made. */
export function requireRoom(dataFolder: string): void {
  const { blocks, bavail, bsize } = statfsSync(dataFolder)
  const free = bavail * bsize
  const least = leastFreeBytes(blocks * bsize)
  if (free >= least) return
  const [have, need] = [free, least].map(bytes => Math.floor(bytes / MEGABYTE))
  throw new SlipwayError(
    'host.disk-full',
    `The host has ${have} MB of its disk left and begins nothing new below ${need} MB: GET /v1/hosts/{host} shows what takes the room.`,
  )
}
