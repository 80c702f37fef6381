import { createWriteStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { SignedParts } from '#shared/ports/blob-store.ts'
import { type FolderParts, failing, missing, PART_NAME, syncPath, uploadGone } from './folder-parts.ts'
import type { SignedUrls, UrlTerms } from './folder-urls.ts'

export interface FolderSignedParts extends SignedParts {
  /** Puts a part's bytes, through `check`, in their place, durable; returns the part's tag. */
  write(part: NonNullable<UrlTerms['part']>, bytes: Readable, check: Transform): Promise<string>
}

/** An upload is one file in `.part`, to which each part is written where it belongs; joining it moves the file. */
export function folderSignedParts(
  parts: FolderParts,
  urls: SignedUrls,
  pathOf: (key: string) => string,
): FolderSignedParts {
  const writers = openWriters()
  const fileOf = (id: string) => {
    if (!PART_NAME.test(id)) throw uploadGone()
    return parts.pathOf(id)
  }
  return {
    begin: () =>
      failing(async () => {
        const id = parts.name()
        await (await open(fileOf(id), 'wx', 0o600)).close()
        return id
      }),
    sign: async (key, id, { offset, size, expiresMs }) => ({
      url: urls.sign('PUT', key, { expiresMs, size, part: { id, offset } }),
      headers: {},
    }),
    write: ({ id, offset }, bytes, check) =>
      failing(async () => {
        const path = fileOf(id)
        await writers.run(id, async signal => {
          if (!(await stat(path).catch(missing))) throw uploadGone()
          await pipeline(bytes, check, createWriteStream(path, { flags: 'r+', start: offset }), { signal })
          await syncPath(path)
        })
        return `"${offset}"`
      }),
    join: (key, id, _tags, size) =>
      failing(async () => {
        using _ = await writers.close(id)
        const came = await stat(fileOf(id)).catch(missing)
        if (came?.size === size) return parts.publish(id, pathOf(key))
        const isJoined = !came && (await stat(pathOf(key)).catch(missing))?.size === size
        if (!isJoined) throw uploadGone()
      }),
    drop: (_key, id) =>
      failing(async () => {
        using _ = await writers.close(id)
        if (PART_NAME.test(id)) await parts.remove(id)
      }),
  }
}

/** A late repeat of a part must not write to what is joined meanwhile, and may be read: its file is the object's then. */
function openWriters() {
  const running = new Map<string, Map<Promise<void>, AbortController>>()
  const closing = new Map<string, number>()
  return {
    run: async (id: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> => {
      if (closing.has(id)) throw uploadGone()
      const controller = new AbortController()
      const done = work(controller.signal)
      const ofUpload = running.get(id) ?? new Map()
      running.set(id, ofUpload.set(done, controller))
      try {
        await done
      } catch (error) {
        throw controller.signal.aborted ? controller.signal.reason : error
      } finally {
        ofUpload.delete(done)
        if (ofUpload.size === 0) running.delete(id)
      }
    },
    /** Ends who writes; nobody begins to until what is returned is disposed of. */
    close: async (id: string): Promise<Disposable> => {
      closing.set(id, (closing.get(id) ?? 0) + 1)
      const ofUpload = [...(running.get(id) ?? [])]
      for (const [, controller] of ofUpload) controller.abort(uploadGone())
      await Promise.allSettled(ofUpload.map(([done]) => done))
      return {
        [Symbol.dispose]: () => {
          const left = (closing.get(id) ?? 1) - 1
          if (left === 0) closing.delete(id)
          else closing.set(id, left)
        },
      }
    },
  }
}
