import { type FileHandle, open } from 'node:fs/promises'
import { z } from 'zod'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobWriter, WriterState } from '#shared/ports/blob-store.ts'
import { gatherBlocks } from './blocks.ts'
import { type FolderParts, failing, missing, PART_NAME, uploadGone } from './folder-parts.ts'

/** One write call for this many bytes, however small the pieces: 64 KiB each would cost a third of the speed. */
const BLOCK_BYTES = 1024 * 1024
/** The disk is kept busy while the bytes come in, so that the sync at the end finds little left to do. */
const FLUSH_BYTES = 64 * 1024 * 1024

const stateSchema = z.object({ file: z.string().regex(PART_NAME), offset: z.int().min(0) })

/** Writes a part of the folder and moves it to `target` in the end. Errors as the port has them. */
export async function openFolderWriter(parts: FolderParts, target: string, state?: WriterState): Promise<BlobWriter> {
  const { file, offset } =
    state === undefined ? { file: parts.name(), offset: 0 } : stateSchema.parse(JSON.parse(state))
  const path = parts.pathOf(file)
  const handle = await failing(state === undefined ? open(path, 'wx', 0o600) : reopen(path, offset))
  const output = appender(handle, offset)
  let isOver = false
  const refuseOver = () => {
    if (isOver) throw new SlipwayError('internal', 'This writer has ended.')
  }
  const end = async () => {
    isOver = true
    await handle.close()
  }
  const drop = async (isForGood: boolean) => {
    await output.drop()
    await end()
    if (isForGood) await parts.remove(file)
  }
  return {
    write: bytes => failing(output.write(bytes)),
    suspend: () =>
      failing(async () => {
        refuseOver()
        try {
          const written = await output.finish()
          await end()
          return JSON.stringify({ file, offset: written }) as WriterState
        } catch (error) {
          await drop(state === undefined)
          throw error
        }
      }),
    complete: () =>
      failing(async () => {
        refuseOver()
        try {
          await output.finish()
          await parts.publish(file, target)
        } finally {
          await end()
        }
      }),
    abort: () =>
      failing(async () => {
        if (!isOver) await drop(true)
      }),
  }
}

/** A part as it was at a state: what came later is cut off. */
async function reopen(path: string, offset: number): Promise<FileHandle> {
  const handle = await open(path, 'r+').catch(missing)
  if (!handle) throw uploadGone()
  const { size } = await handle.stat()
  if (size < offset) {
    await handle.close() // A power failure took what was not yet on disk.
    throw uploadGone()
  }
  await handle.truncate(offset)
  return handle
}

/** Appends at an offset; `finish` makes all of it durable and returns the offset reached. */
function appender(handle: FileHandle, offset: number) {
  let position = offset
  let flushedAt = offset
  let flushing: Promise<void> = Promise.resolve()
  const append = async (block: Uint8Array) => {
    await writeAll(handle, block, position)
    position += block.length
    if (position - flushedAt < FLUSH_BYTES) return
    flushedAt = position
    await flushing
    flushing = handle.datasync()
    flushing.catch(() => {}) // Told by the next flush, or by `finish`.
  }
  const blocks = gatherBlocks(BLOCK_BYTES, append)
  return {
    write: blocks.write,
    finish: async () => {
      await append(await blocks.settle())
      await flushing
      await handle.sync()
      return position
    },
    /** Waits for what is under way, so that the file may be closed. */
    drop: async () => {
      await Promise.allSettled([blocks.settle()])
      await Promise.allSettled([flushing])
    },
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}
