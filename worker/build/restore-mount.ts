import { toFault } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { folderState } from '../layer/folder-state.ts'
import { unpackFolder } from '../layer/unpack.ts'
import type { StepLog } from './build-log.ts'
import type { Transfers } from './mount-transfer.ts'
import { openSavedTar } from './saved-tar.ts'

const MAX_ENTRIES = 1_000_000

/**
 * Fills an empty folder with what was saved last of a mount. False: nothing was, or what was is gone or damaged, which is a line
 * of the log and no failure; the folder may hold a part then. Errors: a cancel alone.
 */
export async function restoreMount(
  { id, name, folder }: { id: string; name: string; folder: string },
  { api, requireRoom, states }: Transfers,
  log: StepLog,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const { saved } = await api.savedMount(id)
    if (!saved) {
      log.write('step', `cache mount ${id}: nothing was saved of it yet`)
      return false
    }
    requireRoom()
    log.write('step', `restoring cache mount ${id}: ${sizeInWords(saved.size)}`)
    await using tar = await openSavedTar(saved, digest => api.download(digest), signal)
    const chunks = tar.chunks(bytes => log.progress({ bytes, total: saved.size }))
    await unpackFolder(chunks, folder, { maxBytes: saved.unpackedBytes, maxEntries: MAX_ENTRIES })
    await tar.verify()
    states.set(name, (await folderState(folder, signal)).fingerprint)
    return true
  } catch (error) {
    signal.throwIfAborted()
    log.write(
      'stderr',
      `WARN: cache mount ${id} begins empty, since it could not be restored: ${toFault(error).message}`,
    )
    return false
  }
}
