import { constants, copyFileSync, fsyncSync, futimesSync, openSync, readFileSync } from 'node:fs'
import { argv } from 'node:process'
import { z } from 'zod'
import { digestSchema } from '#shared/digest.ts'
import { hookFileCalls } from './file-calls.ts'

/** A process of its own that lives through `layer-life.ts`, until it is killed ahead of a call, or with copies of its disk ahead of each. */

const optionsSchema = z.object({
  driver: z.enum(['erofs', 'overlay', 'fuse-overlayfs', 'btrfs', 'vfs']),
  folder: z.string(),
  tars: z.string(),
  diffIds: z.array(digestSchema),
  /** Kills itself ahead of this call, the first being 1. */
  killAt: z.int().optional(),
  /** Copies `disk` to `copies`/<n> when something was written to it; `commits`: after what is known of names is on it. */
  copying: z
    .object({ disk: z.string(), written: z.string(), copies: z.string(), commits: z.string().optional() })
    .optional(),
})
export type LayerLifeOptions = z.infer<typeof optionsSchema>

const { driver, folder, tars, diffIds, killAt, copying } = optionsSchema.parse(JSON.parse(argv[2] ?? ''))
let count = 0
hookFileCalls(() => {
  if (++count === killAt) process.kill(process.pid, 'SIGKILL')
  if (copying) copyDisk(copying)
})

let lastWritten = ''
let copies = 0
function copyDisk({ disk, written, copies: into, commits }: NonNullable<LayerLifeOptions['copying']>): void {
  if (commits !== undefined) commitNames(commits)
  // Sectors written to the device so far (kernel documentation, block/stat).
  const now = readFileSync(written, 'utf8').trim().split(/\s+/)[6] ?? ''
  if (now === lastWritten) return
  lastWritten = now
  copyFileSync(disk, `${into}/${String(++copies).padStart(4, '0')}`, constants.COPYFILE_FICLONE_FORCE)
}

/** A change of one file's time, and its sync, has the journal write down all names, and no other file's bytes. */
function commitNames(path: string): void {
  marker ??= openSync(path, 'w')
  futimesSync(marker, count, count)
  fsyncSync(marker)
}
let marker: number | undefined

const { openLayerLife, liveThrough } = await import('./layer-life.ts')
await liveThrough(await openLayerLife(driver, folder, tars, diffIds), diffIds)
