import { statfsSync } from 'node:fs'
import { leastFreeBytes } from '#shared/domain/host.ts'
import { SlipwayError } from '#shared/errors.ts'

const MEGABYTE = 1_000_000

/** Before work that fills the disk: a pull, a build. Errors: `host.disk-full`, which passes once room is made. */
export function requireRoom(dataFolder: string): void {
  const { free, least } = roomOf(dataFolder)
  if (free >= least) return
  const [have, need] = inMegabytes(free, least)
  throw new SlipwayError(
    'host.disk-full',
    `The host has ${have} MB of its disk left and begins nothing new below ${need} MB: GET /v1/hosts/{host} shows what takes the room.`,
  )
}

/** Of what new work needs, what work that has begun must leave: containers, their logs and the agent go on writing. */
const LEFT_SHARE = 0.5

/** While work fills the disk. Errors: `host.disk-full`. */
export function requireReserve(dataFolder: string): void {
  const { free, least } = roomOf(dataFolder)
  if (free >= least * LEFT_SHARE) return
  const [have, need] = inMegabytes(free, least * LEFT_SHARE)
  throw new SlipwayError(
    'host.disk-full',
    `The build was ended: the host has ${have} MB of its disk left, of which a build leaves ${need} MB to others. Write less, or build on a host with more room; GET /v1/hosts/{host} shows what takes it.`,
  )
}

function roomOf(dataFolder: string): { free: number; least: number } {
  const { blocks, bavail, bsize } = statfsSync(dataFolder)
  return { free: bavail * bsize, least: leastFreeBytes(blocks * bsize) }
}

const inMegabytes = (...bytes: number[]) => bytes.map(count => Math.floor(count / MEGABYTE))
