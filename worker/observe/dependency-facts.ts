import type { DesiredContainer } from '#shared/domain/container.ts'
import type { DependencyFacts } from '../reconcile/dependencies.ts'
import type { ContainerRecord } from '../reconcile/facts.ts'
import { observedState } from '../reconcile/status.ts'
import { type ObservedPorts, observeContainer } from './container-facts.ts'

/** The containers that one is to wait for before its next run, if there is one to come. Costs a look at each of them. */
export function observeDependencies(
  ports: ObservedPorts,
  { goal, spec }: DesiredContainer,
  record: ContainerRecord,
  find: (id: string) => DesiredContainer | undefined,
): Promise<DependencyFacts[]> {
  const isDue = (goal.kind === 'running' || goal.kind === 'paused') && record.run < goal.run
  const dependsOn = isDue ? (spec.dependsOn ?? []) : []
  return Promise.all(
    dependsOn.map(async ({ container, condition }) => {
      const want = find(container)
      const isThere = want && want.goal.kind !== 'removed'
      const status = isThere ? observedState(want, await observeContainer(ports, want, false)) : undefined
      return { condition, name: want?.name ?? container, status }
    }),
  )
}
