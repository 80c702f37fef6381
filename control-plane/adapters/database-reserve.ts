import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'

/**
 * A file beside the database that is there to be given up: where others fill the disk to its last block, what stops and
 * removes them can still be written down. Most records of the API are a few pages; this is room for thousands.
 */
export interface DatabaseReserve {
  /** Takes the room where it is not taken and twice of it is free. For now and then. */
  keep(): Promise<void>
  /** Frees it, at once. Nothing there is no error. */
  giveUp(): void
  /** Whether next to nothing is free: what fails may fail for that. */
  isDiskFull(): boolean
  /** Before work that others may do later. Errors: `host.disk-full` while the reserve is given up and its room is not there again. */
  requireRoom(): void
}

const MOST_BYTES = 8 * 1024 ** 2
const SHARE = 0.02
/** What stat(2) counts blocks in. */
const SECTOR = 512
/** Of the reserve. */
const FULL_SHARE = 0.25

export function openDatabaseReserve(folder: string): DatabaseReserve {
  const path = join(folder, 'reserve')
  const disk = () => {
    const { blocks, bavail, bsize } = statfsSync(folder)
    return { free: bavail * bsize, size: Math.min(Math.floor(blocks * bsize * SHARE), MOST_BYTES) }
  }
  let isTaking = false
  const isThere = () => {
    const found = statSync(path, { throwIfNoEntry: false })
    return found !== undefined && found.blocks * SECTOR >= disk().size / 2
  }
  const giveUp = () => {
    rmSync(path, { force: true })
    syncFolder(folder) // Some filesystems free blocks only then.
  }
  const keep = async () => {
    const { free, size } = disk()
    if (isTaking || isThere() || free < 2 * size) return
    isTaking = true
    try {
      await write(path, size)
    } catch (error) {
      giveUp() // One without its blocks would be taken for one.
      throw error
    } finally {
      isTaking = false
    }
  }
  return {
    keep,
    giveUp,
    isDiskFull: () => {
      const { free, size } = disk()
      return free < size * FULL_SHARE
    },
    requireRoom: () => {
      if (isThere()) return
      const { free, size } = disk()
      if (free >= 2 * size) return void keep().catch(() => {}) // The next round says so, if it cannot.
      throw diskFull(folder)
    },
  }
}

/** What whoever runs the API has to do; `cause`: what failed for want of room. */
export function diskFull(folder: string, cause?: unknown): SlipwayError {
  const message = `The disk of the API's database (${folder}) is full: nothing new begins. Stop or remove what fills it, or free some space there, then try again (docs/disk.md).`
  return new SlipwayError('host.disk-full', message, { cause })
}

/** Bytes that no filesystem can make smaller, in blocks that are the file's own. */
async function write(path: string, size: number): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(randomBytes(size))
    await file.sync()
  } finally {
    await file.close()
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
