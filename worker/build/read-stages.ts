import type { BuildSpecOf } from '#shared/domain/build.ts'
import { parseDockerfile } from '../dockerfile/dockerfile.ts'
import { globalArgs, platformArgs, resolveStages } from '../dockerfile/stages.ts'
import { readDockerfile } from './build-context.ts'

/** The Dockerfile of a context and its stages, as a build on a host of this architecture has them. Errors: those of Dockerfiles. */
export async function readStages(context: string, spec: BuildSpecOf<'dockerfile'>, architecture: string) {
  const text = await readDockerfile(context, spec.dockerfile)
  const dockerfile = parseDockerfile(text, spec.dockerfile)
  const platform = new Map([...platformArgs(architecture), ['TARGETSTAGE', spec.target ?? 'default'] as const])
  const globals = globalArgs(dockerfile, spec.args, platform)
  return { text, dockerfile, platform, globals, stages: resolveStages(dockerfile, globals) }
}
