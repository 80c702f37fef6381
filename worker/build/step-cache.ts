import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type Digest, digestHex, digestSchema } from '#shared/digest.ts'

/** Raise it whenever the same inputs would give other files than before. */
const CACHE_VERSION = 2

export const resultSchema = z.object({
  /** ISO 8601. A cached step keeps its time, so that a build of cached steps gives the same image again. */
  created: z.string(),
  /** Left out when the step changed no file. */
  layer: z.object({ diffId: digestSchema, digest: digestSchema, size: z.int() }).optional(),
})
export type StepResult = z.infer<typeof resultSchema>

/**
 * What steps gave, a small file by each step's key, and their layers as gzipped blobs. An entry counts only while its
 * blob and its unpacked layer are there, so a lost file costs one step and no more. Not bounded yet: grows with builds.
 */
export interface StepCache {
  find(key: string): Promise<StepResult | undefined>
  keep(key: string, result: StepResult): Promise<void>
  blobPath(digest: Digest): string
}

export async function openStepCache(
  folder: string,
  hasLayer: (diffId: Digest) => Promise<boolean>,
): Promise<StepCache> {
  const blobs = join(folder, 'blobs')
  await mkdir(blobs, { recursive: true, mode: 0o700 })
  for (const name of await readdir(folder)) if (name.endsWith('.part')) await rm(join(folder, name), { force: true })
  const blobPath = (digest: Digest) => join(blobs, digestHex(digest))
  const isWhole = async ({ digest, size }: NonNullable<StepResult['layer']>) =>
    (await stat(blobPath(digest)).catch(() => undefined))?.size === size
  let kept = 0
  return {
    blobPath,
    find: async key => {
      const text = await readFile(join(folder, key), 'utf8').catch(() => undefined)
      const read = text === undefined ? undefined : resultSchema.safeParse(parsed(text))
      if (!read?.success) return undefined
      const { layer } = read.data
      if (layer && !((await isWhole(layer)) && (await hasLayer(layer.diffId)))) return undefined
      return read.data
    },
    keep: async (key, result) => {
      const part = join(folder, `${key}.${kept++}.part`)
      await writeFile(part, JSON.stringify(result), { mode: 0o600 })
      await rename(part, join(folder, key))
    },
  }
}

/** A step's key: everything that its result depends on. */
export function stepKey(parts: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([CACHE_VERSION, parts]))
    .digest('hex')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
