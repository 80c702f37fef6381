import type { Digest } from '#shared/digest.ts'
import { type ErrorCode, SlipwayError } from '#shared/errors.ts'
import type { LayerStack } from '../image/image-store.ts'
import type { SharedWork, StepWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'

/** By diff ID: when the pull of a base image that has it is over. */
export type ArrivingLayers = Map<Digest, Promise<void>>

type Work = Pick<SharedWork, 'ports' | 'log' | 'signal' | 'arriving' | 'fleet'> & Partial<Pick<StepWork, 'output'>>

/** What is wrong with a layer that the fleet's cache named: its blob is gone, or is not what it was. */
const LOST = new Set<ErrorCode>(['blob.not-found', 'blob.store-failed', 'layer.digest-mismatch', 'layer.invalid'])

/**
 * Sees to it that layers are on this host before something is mounted or read: what is pulled already is waited for, the rest is
 * fetched, side by side. A build of cached steps alone does not come here, and so fetches nothing.
 */
export async function haveLayers(work: Work, stack: LayerStack): Promise<void> {
  const { ports, log, signal, arriving, fleet, output } = work
  const missing = await missingOf(work, stack)
  const begun = output?.waits()
  await Promise.all(missing.map(diffId => arriving.get(diffId)).map(pull => pull && untilAborted(pull, signal)))
  begun?.()
  const left = await missingOf(work, stack)
  if (left.length === 0) return
  const count = left.length === 1 ? 'a layer' : `${left.length} layers`
  try {
    await log.step(`fetching ${count} of cached steps`, signal, ({ progress }) =>
      untilAborted(ports.images.fetchLayers(stack, progress), signal),
    )
  } catch (cause) {
    const isLost = cause instanceof SlipwayError && LOST.has(cause.code) && left.some(fleet.hasGiven)
    if (signal.aborted || !isLost) throw cause
    throw layersLost(cause)
  }
}

/** The build begins anew, without what other hosts made. */
export function layersLost(cause?: unknown): SlipwayError {
  return new SlipwayError('build.cache-lost', "A layer of the fleet's cache is not in the store any more.", { cause })
}

async function missingOf({ ports }: Work, { diffIds }: LayerStack): Promise<Digest[]> {
  const areHere = await Promise.all(diffIds.map(diffId => ports.snapshots.hasLayer(diffId)))
  return diffIds.filter((_, at) => !areHere[at])
}
