import { existsSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { leastFreeBytes } from '#shared/domain/host.ts'

const MEGABYTE = 1_000_000

/** Of the disk that a folder is or will be on: a sentence where it has too little room for new work; undefined where it has enough. */
export function diskIsFull(folder: string): string | undefined {
  const place = existsSync(folder) ? folder : dirname(folder)
  const { blocks, bavail, bsize } = statfsSync(place)
  const [free, least] = [bavail * bsize, leastFreeBytes(blocks * bsize)]
  if (free >= least) return undefined
  const [have, need] = [free, least].map(bytes => Math.floor(bytes / MEGABYTE))
  return `The disk of ${folder} is full: ${have} MB of it are free, new work begins at ${need} MB. Remove containers or images, or free some space there (docs/disk.md).`
}
