import { createReadStream, existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { type ContainerId, newId } from '#shared/domain/ids.ts'
import { DamagedStream } from '../host/decompressor.ts'
import { decompress } from '../layer/decompress.ts'
import { packTar } from '../layer/pack.ts'
import type { BuildWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'
import { stepKey } from './step-cache.ts'

type Work = Pick<BuildWork, 'cache' | 'fleet' | 'share' | 'packing' | 'signal' | 'folder' | 'random'>
type Layer = NonNullable<StepResult['layer']>

/** What a step gave before: on this host, or on another of the fleet. */
export async function cachedStep(work: Work, key: string): Promise<StepResult | undefined> {
  const { cache, fleet, signal } = work
  const kept = await cache.find(key)
  if (!kept || kept.lackedMemory) return asPacked(work, key, await untilAborted(fleet.find(key), signal))
  work.share(key)
  return asPacked(work, key, kept.result)
}

/**
 * A layer that is compressed otherwise than was asked for is taken as it is, unless the build insists (BuildKit's rule for its
 * exporters): then it is compressed again, once, and kept beside the other.
 */
async function asPacked(work: Work, key: string, known: StepResult | undefined): Promise<StepResult | undefined> {
  const { cache, packing, fleet, share } = work
  if (!known?.layer || !packing.forceCompression || compressionOf(known.layer) === packing.compression) return known
  const ownKey = stepKey({ step: key, compression: packing.compression })
  const again = (await cache.find(ownKey))?.result ?? (await fleet.find(ownKey))
  if (again?.layer?.diffId === known.layer.diffId) return again
  const layer = await packedAgain(work, known.layer)
  if (!layer) return undefined
  const result = { ...known, layer }
  await cache.keep(ownKey, { result })
  share(ownKey)
  return result
}

/** Undefined where the blob is not the layer any more, or is not on this host: that costs its step. */
async function packedAgain(work: Work, { diffId, ...old }: Layer): Promise<Layer | undefined> {
  const { cache, packing, signal, folder, random } = work
  if (!existsSync(cache.blobPath(old.digest))) return undefined
  const { compression, compressionLevel: level } = packing
  const path = join(folder, `${newId<ContainerId>(random)}.layer`)
  const tar = decompress(compressionOf(old), createReadStream(cache.blobPath(old.digest)))
  const packed = await packTar(tar, { path, compression, level, signal }).catch(error => {
    if (!(error instanceof DamagedStream)) throw error
  })
  if (packed?.diffId !== diffId) {
    await rm(path, { force: true })
    return undefined
  }
  const { digest, size, unpackedBytes } = packed
  await rename(path, cache.blobPath(digest))
  return { diffId, unpackedBytes, compression, digest, size }
}

function compressionOf({ compression = 'gzip' }: Pick<Layer, 'compression'>) {
  return compression
}
