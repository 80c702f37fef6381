import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BuildId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { FoundMount } from '#shared/protocol/cache-mounts.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { folderState } from '../layer/folder-state.ts'
import { type PackedLayer, packTar } from '../layer/pack.ts'
import { tarOfFolder } from '../layer/tree-tar.ts'
import type { Transfers } from './mount-transfer.ts'

const MEDIA_TYPE = 'application/vnd.oci.image.layer.v1.tar+zstd'
/** Steps of builds come first: a save that meets them waits as long, and looks as often. */
const PATIENCE_MS = 10 * 60_000
const LOOK_MS = 500
const MAX_ENTRIES = 1_000_000
const UPLOAD_MS = 60 * 60_000

interface SavedFolder {
  build: BuildId
  id: string
  name: string
}

/** What is to be saved, or the sentence why nothing is. */
type Packed = { packed: PackedLayer; fingerprint: string } | string

/**
 * Saves a mount's folder as it is while no step uses it; returns a sentence for the log. One that did not change since this agent
 * saved or restored it is not read, one that has the tar that is saved is not sent. The save of before stays until the store
 * has verified this one.
 */
export async function saveMount({ build, id, name }: SavedFolder, transfers: Transfers): Promise<string> {
  const { api, clock, requireRoom, folder, states } = transfers
  const path = join(folder, `${name}.tar.zst`)
  await using undo = new AsyncDisposableStack()
  undo.defer(() => rm(path, { force: true }))
  const found = await api.savedMount(id)
  requireRoom()
  const until = clock.now() + PATIENCE_MS
  let read = await readFolder(name, path, found, transfers)
  while (read === 'inUse' && clock.now() < until) {
    await clock.sleep(LOOK_MS)
    read = await readFolder(name, path, found, transfers)
  }
  if (read === 'inUse') return 'not saved: steps of other builds used it all the time'
  if (typeof read === 'string') return read
  const { packed, fingerprint } = read
  const { digest, size, diffId, unpackedBytes } = packed
  const isSame = found.saved?.diffId === diffId
  if (!isSame) {
    await upload(packed, transfers)
    await api.saveMount({ id, build, saved: { digest, size, diffId, unpackedBytes } })
  }
  states.set(name, fingerprint)
  if (isSame) return 'unchanged since it was saved'
  return `saved ${sizeInWords(size)}, ${sizeInWords(unpackedBytes)} before compression`
}

function readFolder(
  name: string,
  path: string,
  { saved, maxBytes }: FoundMount,
  { cacheMounts, states }: Transfers,
): Promise<Packed | 'inUse'> {
  return cacheMounts.readUnused(name, async (folder, over): Promise<Packed> => {
    const { fingerprint, bytes, entries } = await folderState(folder, over)
    if (entries === 0) return 'not saved: it is empty'
    if (bytes > maxBytes)
      return `not saved: its files have ${sizeInWords(bytes)}, more than the ${sizeInWords(maxBytes)} that are kept`
    if (entries > MAX_ENTRIES) return `not saved: it has ${entries} entries, more than ${MAX_ENTRIES}`
    if (saved && states.get(name) === fingerprint) return 'unchanged since it was saved or restored here'
    await rm(path, { force: true }) // Of a try that a step overtook.
    return { packed: await packTar(tarOfFolder(folder), { path, compression: 'zstd', signal: over }), fingerprint }
  })
}

async function upload({ digest, size, path }: PackedLayer, { api }: Transfers): Promise<void> {
  const [missing] = await api.missingBlobs([{ mediaType: MEDIA_TYPE, digest, size }])
  if (!missing) return
  try {
    await api.upload(missing, path, AbortSignal.timeout(UPLOAD_MS))
  } catch (cause) {
    if (cause instanceof SlipwayError) throw cause
    throw new SlipwayError(
      'blob.store-failed',
      'The saved cache mount could not be uploaded within an hour: the next build that saves it tries again.',
      { cause },
    )
  }
}
