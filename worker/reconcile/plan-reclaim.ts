import type { Digest } from '#shared/digest.ts'
import type { ContainerId } from '#shared/domain/ids.ts'

/** What takes room on this host and could be fetched or made again. Times are Unix milliseconds, sizes bytes on the disk. */
export interface StoreFacts {
  totalBytes: number
  freeBytes: number
  /** `isHeld`: a container has it. */
  images: { digest: Digest; layers: readonly Digest[]; usedAt: number; isHeld: boolean }[]
  cachedSteps: { key: string; bytes: number; layer: Digest | undefined; usedAt: number }[]
  layerBytes: ReadonlyMap<Digest, number>
  /** Of these what the next sweep takes: layers that nothing names, and copies that a storage driver left. */
  spareBytes: ReadonlyMap<Digest, number>
}

/** Sizes are what a container's own files take on the disk, log included. */
export interface EndedContainers {
  /** Those that were kept for their time. */
  expired: { id: ContainerId; finishedAt: number; bytes: number }[]
  /** Of those that are on their way out: nothing else is given up in their place. */
  leavingBytes: number
}

export interface WaterMarks {
  /** Shares of the disk, from 0 to 1: above `high` room is made, until no more than `low` is taken. */
  high: number
  low: number
  /** What was used after this is left alone, for it may be in use before anything says so. */
  usedBefore: number
}

export type ReclaimAction =
  | { kind: 'removeImage'; digest: Digest }
  | { kind: 'removeCachedStep'; key: string }
  | { kind: 'expireContainer'; id: ContainerId }

/**
 * What to give up so that the disk falls to its low mark: images that no container has, then steps of the build cache, then
 * containers that have ended, the longest unused first. Empty below the high mark. Layers go with the last one that names them. Pure; costs the number of
 * names of layers.
 */
export function planReclaim(
  facts: StoreFacts,
  { expired, leavingBytes }: EndedContainers,
  { high, low, usedBefore }: WaterMarks,
): ReclaimAction[] {
  const { totalBytes, freeBytes, images, cachedSteps } = facts
  const taken = totalBytes - freeBytes
  if (taken <= high * totalBytes) return []
  let excess = taken - low * totalBytes
  const names = namesOf(facts)
  const giveUp = (layers: readonly Digest[]) => {
    for (const layer of layers) {
      const left = (names.get(layer) ?? 1) - 1
      names.set(layer, left)
      if (left === 0) excess -= facts.layerBytes.get(layer) ?? 0
    }
  }
  const actions: ReclaimAction[] = []
  for (const { digest, layers, isHeld, usedAt } of [...images].sort(longestUnusedFirst)) {
    if (excess <= 0) return actions
    if (isHeld || usedAt >= usedBefore) continue
    giveUp([...new Set(layers)])
    actions.push({ kind: 'removeImage', digest })
  }
  for (const { key, bytes, layer, usedAt } of [...cachedSteps].sort(longestUnusedFirst)) {
    if (excess <= 0) return actions
    if (usedAt >= usedBefore) continue
    excess -= bytes
    giveUp(layer ? [layer] : [])
    actions.push({ kind: 'removeCachedStep', key })
  }
  excess -= leavingBytes
  for (const { id, bytes } of [...expired].sort((one, other) => one.finishedAt - other.finishedAt)) {
    if (excess <= 0) return actions
    excess -= bytes
    actions.push({ kind: 'expireContainer', id })
  }
  return actions
}

const longestUnusedFirst = (one: { usedAt: number }, other: { usedAt: number }) => one.usedAt - other.usedAt

/** How many name each layer. */
function namesOf({ images, cachedSteps }: StoreFacts): Map<Digest, number> {
  const names = new Map<Digest, number>()
  const add = (layer: Digest) => names.set(layer, (names.get(layer) ?? 0) + 1)
  for (const { layers } of images) for (const layer of new Set(layers)) add(layer)
  for (const { layer } of cachedSteps) if (layer) add(layer)
  return names
}
