import { dirname } from 'node:path'
import { z } from 'zod'
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
  /** Takes in a build that this host was just given; answers from before that do not know it change nothing. */
  takeBuild(build: DesiredBuild): void
  /** Forgets a build that has ended and was reported. */
  forgetBuild(id: string): void
}

const beforeSources = z.looseObject({ kind: z.literal('dockerfile'), contextId: z.string() })

/** An agent from before there were sources left builds of uploaded contexts alone. */
const copySchema = z.preprocess(copy => {
  const known = z.looseObject({ builds: z.array(z.looseObject({ spec: z.unknown() })) }).safeParse(copy)
  if (!known.success) return copy
  const builds = known.data.builds.map(build => {
    const { data: spec } = beforeSources.safeParse(build.spec)
    if (!spec) return build
    const { contextId, ...rest } = spec
    return { ...build, spec: { ...rest, source: { kind: 'context', contextId } } }
  })
  return { ...known.data, builds }
}, desiredStateSchema)

export async function openDesiredCopy(path: string): Promise<DesiredCopy> {
  await sweepHalfWritten(dirname(path))
  let state = await readDurableJson(path, copySchema)
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
      }
      const open = new Set(
        answer.openBuilds ?? (answer.isFull ? answer.builds.map(({ id }) => id) : [...builds.keys()]),
      )
      for (const { id, generation } of builds.values()) {
        if (generation <= answer.generation && !open.has(id)) builds.delete(id)
      }
      for (const container of answer.containers) containers.set(container.id, container)
      for (const build of answer.builds) builds.set(build.id, build)
      state = { ...answer, containers: [], builds: [] }
      await writeDurableJson(path, current())
      return [...new Set([...before, ...answer.containers.map(({ id }) => id)])]
    },
    takeBuild: build => void builds.set(build.id, build),
    forget: id => void containers.delete(id),
    forgetBuild: id => void builds.delete(id),
  }
}
