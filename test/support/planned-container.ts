import type { ContainerGoal, DesiredContainer, RestartPolicy } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { type ContainerFacts, NEW_RECORD } from '#worker/reconcile/facts.ts'

/** One container for the planner: what is wanted of it, and what is there of it. */

export const PLANNED_ID = 'aaaaaaaaaaaaaaaa' as ContainerId

interface Wanted {
  restart?: RestartPolicy | undefined
  revision?: number
}

/** Left out: no restarts, never updated. */
export function wanted(goal: ContainerGoal, { restart = { kind: 'no' }, revision = 0 }: Wanted = {}): DesiredContainer {
  return {
    ...{ id: PLANNED_ID, name: 'c', generation: 1, goal },
    endpoint: { address: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1', mac: '02:42:0a:00:00:02' },
    spec: {
      ...{ image: 'i', imageDigest: `sha256:${'0'.repeat(64)}` as DesiredContainer['spec']['imageDigest'] },
      ...{ revision, env: [], labels: {}, ports: [], restart, resources: {}, isReadOnly: false },
    },
  }
}

/** Its first run, whose image is there. */
export const RUNNING: ContainerFacts = {
  process: { state: 'running', pid: 1, startedAt: 0 },
  ...{ isHeld: false, isRead: false, isAttached: true, hasRemains: true, image: { state: 'present' } },
  record: { ...NEW_RECORD, run: 1, begunAt: 0 },
}
