import type { StepResult } from '#shared/domain/cached-step.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { alsoKnownAs } from './also-known.ts'
import type { StepWork } from './build-work.ts'
import { excludesOf } from './copy-files.ts'
import type { CopySource } from './copy-sources.ts'
import { digestSources } from './digest-sources.ts'
import type { Draft } from './image-draft.ts'
import type { Linked } from './linked-copy.ts'
import { stepKey } from './step-cache.ts'
import { stepInputs } from './step-inputs.ts'

/**
 * A copy out of another stage or image, known a second time by the files that it takes: a stage that was done anew often has the
 * same ones. Costs reading them, which is less than copying and packing them.
 */
export async function copiedBefore(
  work: StepWork,
  draft: Draft,
  step: CopyStep,
  { found, linked }: { found: readonly CopySource[]; linked: Linked | undefined },
  make: () => Promise<StepResult>,
): Promise<StepResult> {
  const files = await digestSources(found, work.signal, { excludes: excludesOf(step), withOwners: true })
  const { architecture } = work.ports
  const key = stepKey(stepInputs(draft, step, { content: { files }, linked, epoch: work.epoch, architecture }))
  return alsoKnownAs(work, key, make)
}
