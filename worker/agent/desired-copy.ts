import { dirname } from 'node:path'
import type { DesiredBuild } from '#shared/domain/build.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { type DesiredState, desiredStateSchema } from '#shared/protocol/agent.ts'
import { readDurableJson, sweepHalfWritten, writeDurableJson } from '#worker/host/durable-file.ts'

/** What this host should hold as far as it was told, with a copy on disk that it plans from while the API is away. */
export interface DesiredCopy {
  /** Undefined before the first answer of the API ever. */
  state(): DesiredState | undefined
  container(id: string): DesiredContainer | undefined
  /** Takes an answer in; returns the ids of containers that changed, all of them for a full answer. */
  merge(answer: DesiredState): Promise<string[]>
  /** Forgets a removed container once the API knows that nothing of it is left. */
  forget(id: string): void
  /** Forgets a build that has ended and was reported. */
  forgetBuild(id: string): void
}

export async function openDesiredCopy(path: string): Promise<DesiredCopy> {
  await sweepHalfWritten(dirname(path))
  let state = await readDurableJson(path, desiredStateSchema)
  const containers = new Map<string, DesiredContainer>(state?.containers.map(item => [item.id, item]))
  const builds = new Map<string, DesiredBuild>(state?.builds.map(item => [item.id, item]))
  const current = (): DesiredState | undefined =>
    state && { ...state, isFull: true, containers: [...containers.values()], builds: [...builds.values()] }
  return {
    state: current,
    container: id => containers.get(id),
    merge: async answer => {
      const before = answer.isFull ? [...containers.keys()] : []
      if (answer.isFull) {
        containers.clear()
        builds.clear()
      }
      for (const container of answer.containers) containers.set(container.id, container)
      for (const build of answer.builds) builds.set(build.id, build)
      state = { ...answer, containers: [], builds: [] }
      await writeDurableJson(path, current())
      return [...new Set([...before, ...answer.containers.map(({ id }) => id)])]
    },
    forget: id => void containers.delete(id),
    forgetBuild: id => void builds.delete(id),
  }
}
