import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type Digest, digestHex } from '#shared/digest.ts'
import { type StepResult, stepKeySchema, stepResultSchema } from '#shared/domain/cached-step.ts'

/** Raise it whenever the same inputs would give other files than before. */
const CACHE_VERSION = 4

const keptSchema = z.object({
  result: stepResultSchema,
  /** The step before it in its stage; left out for a stage's first. */
  after: stepKeySchema.optional(),
  /** By a build that was to use no cache, until the fleet was told. */
  isAnew: z.boolean().optional(),
  /**
   * The kernel killed processes of it for want of memory. This build goes on with it, and its files need a name; later builds do it
   * again, and the fleet is not told.
   */
  lackedMemory: z.boolean().optional(),
  /** When the fleet was told of it last (Unix milliseconds). */
  sharedAt: z.number().optional(),
})
export type KeptStep = z.infer<typeof keptSchema>

/**
 * What steps gave, a small file by each step's key, and their layers as compressed blobs. An entry counts only while its
 * blob and its unpacked layer are there, so a lost file costs one step and no more. Grows with builds until the disk fills:
 * the longest unused go then.
 */
export interface StepCache {
  /** `isUse` false: the step stays as old as it is. */
  find(key: string, options?: { isUse: boolean }): Promise<KeptStep | undefined>
  keep(key: string, step: KeptStep): Promise<void>
  /** Notes that the fleet was told of this step. False where the cache has another of that key by now. */
  wasShared(key: string, step: KeptStep, at: number): Promise<boolean>
  blobPath(digest: Digest): string
  /** Every step, and whether the fleet was ever told of it. Reads a small file each. */
  list(): Promise<(CachedStep & { isShared: boolean })[]>
  /** Forgets a step with its blob; its layer is swept once nothing names it. One that is not there is no error. */
  remove(key: string): Promise<void>
}

export interface CachedStep {
  key: string
  /** What its files take on the disk, without the layer. */
  bytes: number
  layer: Digest | undefined
  /** When it was last asked for or made (Unix milliseconds). */
  usedAt: number
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
  /** Keys by the blob that they name: read once, for the first removal. */
  let naming: Promise<Map<Digest, Set<string>>> | undefined
  let kept = 0
  const keep = async (key: string, step: KeptStep) => {
    const part = join(folder, `${key}.${kept++}.part`)
    await writeFile(part, JSON.stringify(step), { mode: 0o600 })
    await rename(part, join(folder, key))
    if (naming) noteName(await naming, key, step)
  }
  return {
    blobPath,
    keep,
    wasShared: async (key, step, at) => {
      const path = join(folder, key)
      const [last, info] = await Promise.all([readKept(path), stat(path).catch(() => undefined)])
      if (!last) return true // It was given up.
      if (JSON.stringify(last) !== JSON.stringify(step)) return false
      const { isAnew: _, ...told } = last
      await keep(key, { ...told, sharedAt: at })
      if (info) await utimes(path, info.atime, info.mtime).catch(() => {}) // To be told of is no use of it.
      return true
    },
    find: async (key, { isUse } = { isUse: true }) => {
      const step = await readKept(join(folder, key))
      if (!step) return undefined
      const { layer } = step.result
      if (layer && !((await isWhole(layer)) && (await hasLayer(layer.diffId)))) return undefined
      if (isUse) await utimes(join(folder, key), new Date(), new Date()).catch(() => {}) // Its age is only less exact then.
      return step
    },
    list: async () => {
      const found = await Promise.all((await keysIn(folder)).map(key => cachedStep(folder, key)))
      return found.filter(step => step !== undefined)
    },
    remove: async key => {
      naming ??= readNames(folder)
      const names = await naming
      const digest = (await readKept(join(folder, key)))?.result.layer?.digest
      await rm(join(folder, key), { force: true })
      if (digest === undefined) return
      names.get(digest)?.delete(key)
      // Another step may have made the same bytes, and a build may be about to push them.
      if (names.get(digest)?.size) return
      names.delete(digest)
      await rm(blobPath(digest), { force: true })
    },
  }
}

async function readNames(folder: string): Promise<Map<Digest, Set<string>>> {
  const names = new Map<Digest, Set<string>>()
  for (const key of await keysIn(folder)) noteName(names, key, await readKept(join(folder, key)))
  return names
}

function noteName(names: Map<Digest, Set<string>>, key: string, step: KeptStep | undefined): void {
  const digest = step?.result.layer?.digest
  if (digest === undefined) return
  const keys = names.get(digest) ?? new Set()
  names.set(digest, keys.add(key))
}

async function keysIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter(name => stepKeySchema.safeParse(name).success)
}

async function cachedStep(folder: string, key: string) {
  const [step, info] = await Promise.all([readKept(join(folder, key)), stat(join(folder, key)).catch(() => undefined)])
  if (!step || !info) return undefined
  const { layer } = step.result
  const isShared = step.sharedAt !== undefined
  return { key, bytes: info.size + (layer?.size ?? 0), layer: layer?.diffId, usedAt: info.mtimeMs, isShared }
}

/** What is no entry of this version is as good as none. */
export async function readKept(path: string): Promise<KeptStep | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : keptSchema.safeParse(parsed(text)).data
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
