import { setImmediate } from 'node:timers/promises'
import type { Instruction } from '../dockerfile/instruction.ts'
import { interpret } from '../dockerfile/interpret.ts'
import type { Scope } from '../dockerfile/scope.ts'
import type { StageState } from '../dockerfile/stage-state.ts'
import type { Step } from '../dockerfile/step.ts'

/** An instruction with what it asks for in the state that it finds. */
export interface PlannedStep {
  instruction: Instruction
  step: Step
  /** Before it. */
  state: StageState
}

const FILE_KEYWORDS = new Set(['RUN', 'COPY', 'ADD', 'WORKDIR'])

/** Whether it works on files, and so is a step of its own in the log; others change the configuration alone. */
export function isFileInstruction({ keyword }: Instruction): boolean {
  return FILE_KEYWORDS.has(keyword)
}

/**
 * The steps of a stage, one after the other as they are asked for. Nothing of it depends on what steps do to files, so it
 * may be far ahead of them; but each holds a state, so few should be held. Throws a Dockerfile's fault.
 */
export async function* plannedSteps(
  begin: StageState,
  instructions: readonly Instruction[],
  scope: Scope,
): AsyncGenerator<PlannedStep, void> {
  let state = begin
  for (const instruction of instructions) {
    await setImmediate() // Thousands of instructions need no file, and would let nothing else of this process run.
    const step = interpret(instruction, state, scope)
    yield { instruction, step, state }
    if ('state' in step) state = step.state
  }
}

/** The stages, images and contexts that a step reads, by the names that it has for them. Pure. */
export function sourceNames(step: Step): string[] {
  if (step.kind === 'copy') return step.from === undefined ? [] : [step.from]
  if (step.kind !== 'run') return []
  return step.mounts.flatMap(mount => ('from' in mount && mount.from !== undefined ? [mount.from] : []))
}

/** Begins what comes next while the one before is worked on: at most `count` items are begun and not taken. */
export async function* begunAhead<T, B>(
  items: AsyncIterable<T>,
  count: number,
  begin: (item: T) => B,
): AsyncGenerator<{ item: T; begun: B }, void> {
  const waiting: { item: T; begun: B }[] = []
  for await (const item of items) {
    waiting.push({ item, begun: begin(item) })
    const next = waiting.length > count ? waiting.shift() : undefined
    if (next) yield next
  }
  yield* waiting
}
