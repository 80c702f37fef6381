import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import PQueue from 'p-queue'
import type { BuildSpecOf, BuildWarning } from '#shared/domain/build.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { lint } from '../dockerfile/lint.ts'
import type { Scope } from '../dockerfile/scope.ts'
import { withConfig } from '../dockerfile/stage-state.ts'
import { targetStage } from '../dockerfile/stages.ts'
import { openAdvice } from './advice.ts'
import { openBaseImages } from './base-images.ts'
import { basesAhead } from './bases-ahead.ts'
import { applyIgnoreFile } from './build-context.ts'
import type { BuildWork, SharedWork } from './build-work.ts'
import { mainContext, namedContexts, type Uploads } from './dockerfile-sources.ts'
import { epochOf, packingOf } from './epoch.ts'
import { type Draft, withEpoch } from './image-draft.ts'
import { readStages } from './read-stages.ts'
import { openStageDrafts } from './stage-drafts.ts'
import { takeSource } from './take-source.ts'
import { together } from './together.ts'

export interface DockerfileOptions {
  uploads: Uploads
  /** What this host lets RUN ask for. */
  entitlements: ReadonlySet<string>
  /** Of one build. */
  stepsAtOnce: number
  warn(warnings: readonly BuildWarning[]): void
}

/** Their lists of files can be long. */
const LOOKS_AT_ONCE = 3

/** Builds a Dockerfile's target stage and those that it needs, each once, side by side as far as they do not need each other. */
export async function fromDockerfile(
  spec: BuildSpecOf<'dockerfile'>,
  shared: SharedWork & Pick<BuildWork, 'secrets'>,
  options: DockerfileOptions,
): Promise<Draft> {
  return together(shared.signal, all => buildTarget(spec, { ...shared, ...all }, options))
}

async function buildTarget(
  spec: BuildSpecOf<'dockerfile'>,
  shared: SharedWork & Pick<BuildWork, 'secrets' | 'begin' | 'firstFault'>,
  { uploads, entitlements, stepsAtOnce, warn }: DockerfileOptions,
): Promise<Draft> {
  const { ports, signal } = shared
  const context = join(shared.folder, 'context')
  await mkdir(context, { mode: 0o755 })
  await using bases = openBaseImages(spec.contexts, shared, spec.check)
  const onWritten = basesAhead({ spec, context, ports, bases, begin: shared.begin })
  const digests = await shared.log.step('loading the context', signal, log =>
    takeSource(spec.source, context, { ...shared, log }, uploads, onWritten),
  )
  const { text, dockerfile, platform, globals, stages } = await readStages(context, spec, ports.architecture)
  noteRecipe(shared, spec.dockerfile, text)
  const main = mainContext(context, await applyIgnoreFile(context, spec.dockerfile, signal), digests)
  const scope: Scope = { dockerfile, given: spec.args, globals }
  const epoch = epochOf(spec.args)
  const advice = openAdvice(dockerfile, spec, warn)
  advice.add(lint({ dockerfile, predefined: new Set(platform.keys()), ignoredBy: path => main.ignoredBy?.(path) }))
  advice.refuse()
  const named = namedContexts(spec.contexts, shared, uploads)
  const work = {
    ...{
      ...shared,
      isCacheUsed: !spec.noCache,
      packing: packingOf(spec, epoch),
      epoch,
      madeHere: new Map<string, StepResult>(),
    },
    slots: new PQueue({ concurrency: stepsAtOnce }),
    looks: new PQueue({ concurrency: LOOKS_AT_ONCE }),
    allowed: new Set<string>(spec.allow.filter(name => entitlements.has(name))),
    contextOf: async (from: string | undefined) => (from === undefined ? main : named(from)),
  }
  const draftFor = openStageDrafts({ stages, contexts: spec.contexts, scope, work, bases, advice, isCheck: spec.check })
  const built = await draftFor(targetStage(stages, spec.target, spec.dockerfile))
  if (spec.check) advice.conclude()
  return withEpoch(labelled(built, spec.labels), epoch)
}

function noteRecipe({ materials, secrets }: SharedWork & Pick<BuildWork, 'secrets'>, path: string, text: string) {
  const sha256 = createHash('sha256').update(text).digest('hex')
  const ids = { secrets: Object.keys(secrets.secrets), ssh: Object.keys(secrets.ssh) }
  materials.recipeIs({ dockerfile: { path, text, sha256 }, ...ids })
}

/** Labels of the request win over those of the Dockerfile. */
function labelled(draft: Draft, labels: Record<string, string>): Draft {
  if (Object.keys(labels).length === 0) return draft
  return { ...draft, state: withConfig(draft.state, { Labels: { ...draft.state.config.Labels, ...labels } }) }
}
