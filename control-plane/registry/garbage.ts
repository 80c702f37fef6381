import { z } from 'zod'
import { unreachable } from '#shared/errors.ts'
import type { Garbage } from '#shared/protocol/garbage.ts'
import type { RetentionRule } from '#shared/protocol/retention.ts'
import type { Ports } from '../ports.ts'
import {
  removeBlobs,
  removeLinks,
  removeManifests,
  sliceOfBlobs,
  sliceOfLinks,
  sliceOfManifests,
} from '../store/garbage.ts'
import { findPosition, savePosition } from '../store/positions.ts'
import { previewGarbage } from './garbage-preview.ts'
import { add, addRetained, addRows, nothing } from './garbage-tally.ts'
import { collectBefore } from './grace.ts'
import { RETENTION_START, retentionRules, retentionStep } from './retention.ts'
import { sweepObjects } from './sweep-objects.ts'

/** Rows of one table looked at in one step. */
const ROWS = 500
const OBJECTS_OF_REQUEST = 200

const POSITION = 'garbage'
const text = z.string()
const positionSchema = z.discriminatedUnion('phase', [
  z.object({ phase: z.literal('retention'), repository: text, tag: text, digest: text }),
  /** `isAgain`: this pass removed something, which may have held others that were passed already. */
  z.object({ phase: z.literal('manifests'), after: text, isAgain: z.boolean() }),
  z.object({ phase: z.literal('blobs'), after: text }),
  z.object({ phase: z.literal('links'), repository: text, digest: text }),
])
type Position = z.infer<typeof positionSchema>
const START: Position = { phase: 'retention', ...RETENTION_START }

/** Goes on where the run before ended, for at most so many steps of so many rows; each costs five statements or so. */
export async function collectSlices(ports: Ports, steps: number, rows = ROWS): Promise<void> {
  const kept = positionSchema.safeParse(await findPosition(ports.db, POSITION))
  await run(ports, kept.success ? kept.data : START, { steps, rows }, nothing(false))
}

/**
 * Collects what nothing needs, from the beginning to the end or for as many steps as one request may take; a sweep goes on
 * from there. A dry run removes nothing.
 */
export async function collectGarbage(
  ports: Ports,
  isDry: boolean,
  rules: readonly RetentionRule[] | undefined,
): Promise<Garbage> {
  if (isDry) return previewGarbage(ports, rules ?? (await retentionRules(ports)))
  const total = nothing(false)
  total.isComplete = await run(ports, START, { steps: ports.config.registrySteps, rows: ROWS }, total)
  const { uploads, objects } = await sweepObjects(ports, OBJECTS_OF_REQUEST)
  for (const { id, size } of uploads) add(total.uploads, [id], size)
  total.objects.count += objects
  return total
}

interface Bound {
  steps: number
  rows: number
}

/** True when the end was reached. The position is kept at each end of a run, so that one that dies is only repeated. */
async function run(ports: Ports, from: Position, bound: Bound, total: Garbage): Promise<boolean> {
  const rules = await retentionRules(ports)
  let at: Position | undefined = from
  for (let step = 0; at && step < bound.steps; step++) at = await oneStep(ports, rules, at, bound.rows, total)
  await savePosition(ports.db, POSITION, at ?? START)
  return at === undefined
}

async function oneStep(
  ports: Ports,
  rules: readonly RetentionRule[],
  at: Position,
  rows: number,
  total: Garbage,
): Promise<Position | undefined> {
  switch (at.phase) {
    case 'retention': {
      const step = await retentionStep(ports, rules, at, rows, false)
      if (!step) return { phase: 'manifests', after: '', isAgain: false }
      addRetained(total, step.found)
      return { phase: 'retention', ...step.next }
    }
    case 'manifests':
      return manifestStep(ports, at, rows, total)
    case 'blobs':
      return blobStep(ports, at, rows, total)
    case 'links':
      return linkStep(ports, at, rows, total)
    default:
      return unreachable(at)
  }
}

type At<Phase> = Extract<Position, { phase: Phase }>

async function manifestStep(ports: Ports, at: At<'manifests'>, rows: number, total: Garbage): Promise<Position> {
  const { last, isLast } = await sliceOfManifests(ports.db, at.after, rows)
  const slice = { after: at.after, last: last ?? at.after }
  const gone = last ? await removeManifests(ports.db, slice, collectBefore(ports), ports.clock.now()) : []
  addRows(total.manifests, gone)
  const isAgain = at.isAgain || gone.length > 0
  if (!isLast) return { phase: 'manifests', after: slice.last, isAgain }
  return isAgain ? { phase: 'manifests', after: '', isAgain: false } : { phase: 'blobs', after: '' }
}

async function blobStep(ports: Ports, at: At<'blobs'>, rows: number, total: Garbage): Promise<Position> {
  const { last, isLast } = await sliceOfBlobs(ports.db, at.after, rows)
  const slice = { after: at.after, last: last ?? at.after }
  if (last) addRows(total.blobs, await removeBlobs(ports.db, slice, collectBefore(ports), ports.clock.now()))
  return isLast ? { phase: 'links', repository: '', digest: '' } : { phase: 'blobs', after: slice.last }
}

async function linkStep(ports: Ports, at: At<'links'>, rows: number, total: Garbage): Promise<Position | undefined> {
  const { last, isLast } = await sliceOfLinks(ports.db, at, rows)
  if (!last) return undefined
  total.links.count += await removeLinks(ports.db, at, last, collectBefore(ports))
  return isLast ? undefined : { phase: 'links', ...last }
}
