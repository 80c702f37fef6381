import type { Step } from '../dockerfile/step.ts'
import type { Draft } from './image-draft.ts'

export type FileStep = Exclude<Step, { kind: 'config' }>

/** What is known of a step besides its words. */
export interface Beside {
  /** What a COPY copies. */
  content: unknown
  /** Set where a COPY does not depend on what is below it. */
  linked: unknown
  epoch: number | undefined
  /** Of the host, in OCI's words: the fleet has others. */
  architecture: string
}

/** Everything that the step's files depend on, and nothing else. Pure. */
export function stepInputs(
  { diffIds, state }: Draft,
  step: FileStep,
  { content, linked, epoch, architecture }: Beside,
): unknown {
  const { Env, User, WorkingDir } = state.config
  if (step.kind === 'folder') return ['folder', diffIds, step.path, step.user, epoch]
  if (step.kind === 'run') {
    const { args, script, mounts, network, security } = step
    // Of `step.env` the ARGs alone: proxies that come without being declared change no result. Of a secret its name alone.
    const around = [script, mounts, network, security, content]
    return ['run', architecture, diffIds, args, [...state.args], Env, User, WorkingDir, around, epoch]
  }
  const { sources, documents, urls, repositories, to, chown, chmod, unpacks, keepsParents, excludes, keepsGit } = step
  const words = [sources, documents, urls, repositories, to, chown, chmod, unpacks, keepsParents, excludes, keepsGit]
  return ['copy', linked ?? diffIds, words, content, epoch]
}
