import { z } from 'zod'
import { digestSchema } from '../digest.ts'

/** What `RUN --mount=type=cache` calls one: its `id`, else its target. */
export const cacheMountIdSchema = z.string().min(1).max(1024)

const chosen = z.union([z.boolean(), z.array(cacheMountIdSchema).min(1).max(100)]).default(false)

/** Which cache mounts of a build go from host to host: all of them, none, or those of these ids. */
export const cacheMountFields = {
  cacheMounts: z
    .strictObject({
      restore: chosen.meta({
        description: 'Those that a host does not have yet, or has empty, begin with what was saved last',
      }),
      save: chosen.meta({
        description: 'What is in them is saved once the build has succeeded; its result does not wait for that',
      }),
    })
    .default({ restore: false, save: false })
    .meta({
      description:
        'Folders of `RUN --mount=type=cache` that go from host to host by the blob store: `true` for all, or ids of mounts. Left out: each host keeps its own',
    }),
}
export type ChosenMounts = z.infer<typeof chosen>

export function isChosen(mounts: ChosenMounts, id: string): boolean {
  return typeof mounts === 'boolean' ? mounts : mounts.includes(id)
}

/** A mount's folder as a tar, compressed with zstd, that is a blob of the store. */
export const savedMountSchema = z.object({
  digest: digestSchema,
  /** Of the blob (bytes). */
  size: z.int().min(0),
  /** Of the tar: a folder that did not change has the same one. */
  diffId: digestSchema,
  /** Of the tar (bytes). */
  unpackedBytes: z.int().min(0),
})
export type SavedMount = z.infer<typeof savedMountSchema>
