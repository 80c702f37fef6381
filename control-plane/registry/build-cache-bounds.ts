import { z } from 'zod'
import type { Ports } from '../ports.ts'
import { deleteStepsBeyond, deleteUnusedSteps, stepTotals } from '../store/cached-steps.ts'
import { findPosition, savePosition } from '../store/positions.ts'

export interface BuildCacheBounds {
  /** Of the layers, each once; above it the longest unused go. 0: hosts share no steps. */
  maxBytes: number
  /** What was not used for so long goes. */
  keepMs: number
}

/** Bounds the table, and with it what one look at its totals costs; above it the longest unused go. */
export const MAX_STEPS = 100_000
/** What is left when something had to go, so that the next step does not make something go again. */
const LOW_WATER = 0.9
const PER_RUN = 2000
/** The totals read an index of the whole table. */
const TOTALS_EVERY_MS = 10 * 60 * 1000

const POSITION = 'build-cache'
/** `isOver`: the run before removed as much as one may, and did not come to the low water mark. */
const positionSchema = z.object({ lookAt: z.int(), isOver: z.boolean() })

/** Keeps the build cache within its bounds, a few thousand steps a run; what is left over waits for the next one. */
export async function sweepBuildCache(ports: Ports): Promise<void> {
  const { db, config } = ports
  const now = ports.clock.now()
  await deleteUnusedSteps(db, now - config.buildCache.keepMs, PER_RUN)
  const kept = positionSchema.safeParse(await findPosition(db, POSITION))
  const { lookAt, isOver } = kept.success ? kept.data : { lookAt: 0, isOver: false }
  if (now < lookAt) return
  const isWithin = await evict(ports, isOver)
  await savePosition(db, POSITION, { lookAt: isWithin ? now + TOTALS_EVERY_MS : now, isOver: !isWithin })
}

/** True when nothing is left to be done. */
async function evict({ db, config }: Ports, isOver: boolean): Promise<boolean> {
  const { maxBytes } = config.buildCache
  const maxSteps = maxBytes === 0 ? 0 : MAX_STEPS
  const allowed = isOver ? LOW_WATER : 1
  const totals = await stepTotals(db)
  const tooMany = totals.steps > maxSteps * allowed ? totals.steps - Math.floor(maxSteps * LOW_WATER) : 0
  const isTooLarge = totals.bytes > maxBytes * allowed
  if (isTooLarge) {
    const gone = await deleteStepsBeyond(db, Math.floor(maxBytes * LOW_WATER), Number.MAX_SAFE_INTEGER, PER_RUN)
    return gone.length < PER_RUN && tooMany === 0
  }
  if (tooMany > 0) await deleteUnusedSteps(db, Number.MAX_SAFE_INTEGER, Math.min(tooMany, PER_RUN))
  return tooMany <= PER_RUN
}
