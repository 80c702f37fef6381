import type { ContainerGoal, DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerFacts } from './facts.ts'

/**
 * What a container is to be now. That is what was asked for, but for one that somebody stopped and whose policy is `always`: after a
 * reboot it begins again, as Docker has it, in a run with the next number. An order counts for the runs up to its own number,
 * so the next stop, which names that run, ends it. Pure.
 */
export function effectiveGoal(
  { goal, spec }: Pick<DesiredContainer, 'goal' | 'spec'>,
  have: ContainerFacts,
): ContainerGoal {
  if (goal.kind !== 'stopped') return goal
  const { record, process } = have
  const isRevived = record.isRevived === true && record.run > goal.run
  const isOver = process.state === 'absent' || process.state === 'exited'
  const isDue =
    spec.restart.kind === 'always' &&
    have.isNewBoot === true &&
    record.begunAt !== undefined &&
    record.run <= goal.run &&
    isOver
  return isRevived || isDue ? { kind: 'running', run: goal.run + 1 } : goal
}
