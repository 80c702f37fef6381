import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'

/**
 * Files beside the database that are there to be given up, one after the other: where others fill the disk to its last
 * block, what stops and removes them can still be written down. Each is room for a few writes, and goes only when one
 * needs it: of all at once whoever fills the disk would have the most.
 */
export interface DatabaseReserve {
  /** Makes what is missing where twice of the whole is free. For now and then. */
  keep(): Promise<void>
  /** Frees one of them, at once. False: there is none left. */
  giveUpPart(): boolean
  /** Whether next to nothing is free: what fails may fail for that. */
  isDiskFull(): boolean
  /** Before work that others may do later. Errors: `host.disk-full` once a part was given up, until there is room for it again. */
  requireRoom(): void
}

const MOST_BYTES = 8 * 1024 ** 2
const SHARE = 0.02
/** Files, not pieces of one: a filesystem may keep a piece for as long as its neighbours are there. */
const PARTS = 32
/** Of the reserve. */
const FULL_SHARE = 0.25

export function openDatabaseReserve(data: string): DatabaseReserve {
  const folder = join(data, 'reserve')
  const names = Array.from({ length: PARTS }, (_, at) => String(at))
  mkdirIfRoom(folder)
  const disk = () => {
    const { blocks, bavail, bsize } = statfsSync(data)
    return { free: bavail * bsize, size: Math.min(Math.floor(blocks * bsize * SHARE), MOST_BYTES) }
  }
  const left = () => (existsSync(folder) ? readdirSync(folder).filter(name => names.includes(name)) : [])
  let isTaking = false
  const keep = async () => {
    const { free, size } = disk()
    const there = new Set(left())
    if (isTaking || there.size === PARTS || free < 2 * size) return
    isTaking = true
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      for (const name of names.filter(name => !there.has(name))) await write(folder, name, Math.ceil(size / PARTS))
    } finally {
      isTaking = false
    }
  }
  return {
    keep,
    giveUpPart: () => {
      const [name] = left()
      if (name === undefined) return false
      rmSync(join(folder, name), { force: true })
      syncFolder(folder) // Some filesystems free blocks only then.
      return true
    },
    isDiskFull: () => {
      const { free, size } = disk()
      return free < size * FULL_SHARE
    },
    requireRoom: () => {
      if (left().length === PARTS) return
      const { free, size } = disk()
      if (free < 2 * size) throw diskFull(data)
      void keep().catch(() => {}) // The next round says so, if it cannot.
    },
  }
}

/** What whoever runs the API has to do; `cause`: what failed for want of room. */
export function diskFull(folder: string, cause?: unknown): SlipwayError {
  const message = `The disk of the API's database (${folder}) is full: nothing new begins. Stop or remove what fills it, or free some space there, then try again (docs/disk.md).`
  return new SlipwayError('host.disk-full', message, { cause })
}

/** Bytes that no filesystem can make smaller, under their name once they have their blocks. */
async function write(folder: string, name: string, size: number): Promise<void> {
  const path = join(folder, `${name}.part`)
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(randomBytes(size))
    await file.sync()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
  await rename(path, join(folder, name))
}

/** Where it cannot be made there is no reserve yet. */
function mkdirIfRoom(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch {
    // The next round tries again.
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
