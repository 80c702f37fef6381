import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestHex } from '#shared/digest.ts'
import { type StepResult, stepResultSchema } from '#shared/domain/cached-step.ts'

/** Raise it whenever the same inputs would give other files than before. */
const CACHE_VERSION = 3

const KEY = /^[0-9a-f]{64}$/

/**
 * What steps gave, a small file by each step's key, and their layers as compressed blobs. An entry counts only while its
 * blob and its unpacked layer are there, so a lost file costs one step and no more. Grows with builds until the disk fills:
 * the longest unused go then.
 */
export interface StepCache {
  find(key: string): Promise<StepResult | undefined>
  keep(key: string, result: StepResult): Promise<void>
  blobPath(digest: Digest): string
  /** Every step. Reads a small file each. */
  list(): Promise<CachedStep[]>
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
  let kept = 0
  return {
    blobPath,
    find: async key => {
      const step = await readResult(join(folder, key))
      if (!step) return undefined
      const { layer } = step
      if (layer && !((await isWhole(layer)) && (await hasLayer(layer.diffId)))) return undefined
      await utimes(join(folder, key), new Date(), new Date()).catch(() => {}) // Its age is only less exact then.
      return step
    },
    keep: async (key, result) => {
      const part = join(folder, `${key}.${kept++}.part`)
      await writeFile(part, JSON.stringify(result), { mode: 0o600 })
      await rename(part, join(folder, key))
    },
    list: async () => {
      const keys = (await readdir(folder)).filter(name => KEY.test(name))
      return (await Promise.all(keys.map(key => cachedStep(folder, key)))).filter(step => step !== undefined)
    },
    remove: async key => {
      const digest = (await readResult(join(folder, key)))?.layer?.digest
      await rm(join(folder, key), { force: true })
      // Another step may have made the same bytes, and a build may be about to push them.
      if (digest !== undefined && !(await isNamed(folder, digest))) await rm(blobPath(digest), { force: true })
    },
  }
}

/** Reads all results: for removals, which are rare. */
async function isNamed(folder: string, digest: Digest): Promise<boolean> {
  const keys = (await readdir(folder)).filter(name => KEY.test(name))
  const steps = await Promise.all(keys.map(key => readResult(join(folder, key))))
  return steps.some(step => step?.layer?.digest === digest)
}

async function cachedStep(folder: string, key: string): Promise<CachedStep | undefined> {
  const [step, info] = await Promise.all([
    readResult(join(folder, key)),
    stat(join(folder, key)).catch(() => undefined),
  ])
  if (!step || !info) return undefined
  return { key, bytes: info.size + (step.layer?.size ?? 0), layer: step.layer?.diffId, usedAt: info.mtimeMs }
}

async function readResult(path: string): Promise<StepResult | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : stepResultSchema.safeParse(parsed(text)).data
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
