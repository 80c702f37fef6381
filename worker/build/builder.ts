import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Digest } from '#shared/digest.ts'
import type { DesiredBuild, ObservedBuild } from '#shared/domain/build.ts'
import type { Random } from '#shared/domain/ids.ts'
import { SlipwayError, toFault } from '#shared/errors.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { HostPorts } from '../execute/ports.ts'
import { removeTree } from '../host/remove-tree.ts'
import { extractContext } from '../layer/context.ts'
import type { HostNetwork } from '../network/network-driver.ts'
import { refuseOtherPlatform, refuseTriggers } from './base-image.ts'
import { applyIgnoreFile, CONTEXT_LIMITS, readDockerfile } from './build-context.ts'
import { openBuildEndpoints } from './build-endpoints.ts'
import { type BuildLog, openBuildLog } from './build-log.ts'
import { untilAborted } from './deadline.ts'
import { parseDockerfile } from './dockerfile.ts'
import { type Draft, draftOf, EMPTY_DRAFT } from './image-draft.ts'
import type { Scope } from './interpret.ts'
import { once } from './once.ts'
import { publishDraft } from './publish.ts'
import { type BuildWork, buildInstruction } from './stage-builder.ts'
import { findStage, globalArgs, platformArgs, resolveStages, type Stage, targetStage } from './stages.ts'
import { openStepCache } from './step-cache.ts'

export interface BuilderOptions {
  ports: HostPorts
  api: ControlPlane
  log: Logger
  /** For the cache and, while they run, a folder a build. */
  folder: string
  random: Random
  /** The host's network, as desired state has it. */
  network(): HostNetwork | undefined
}

export interface Builder {
  /** Never throws: how it ended is its result. Leaves nothing but its image and what the cache keeps. */
  build(build: DesiredBuild, signal: AbortSignal): Promise<ObservedBuild>
  /** Whether a build that runs now owns the snapshot, namespace or runtime container of this id. */
  owns(id: string): boolean
}

/** Builds images from Dockerfiles, layer by layer, on this host. Call it once: it removes what earlier builds left. */
export async function openBuilder(options: BuilderOptions): Promise<Builder> {
  const { ports, folder, log } = options
  const workFolder = join(folder, 'work')
  await removeTree(workFolder)
  await mkdir(workFolder, { recursive: true, mode: 0o700 })
  const cache = await openStepCache(join(folder, 'cache'), diffId => ports.snapshots.hasLayer(diffId))
  const endpoints = openBuildEndpoints(options.network)
  const owned = new Set<string>()

  const buildIn = async (wanted: DesiredBuild, buildLog: BuildLog, signal: AbortSignal): Promise<Digest> => {
    const own = join(workFolder, wanted.id)
    await using undo = new AsyncDisposableStack()
    undo.defer(() => removeTree(own))
    await mkdir(own, { recursive: true, mode: 0o700 })
    const shared = { ports, cache, endpoints, owned, signal, log: buildLog, random: options.random, folder: own }
    const draft = await buildTarget(wanted, { ...shared, isCacheUsed: !wanted.spec.noCache }, options.api)
    buildLog.write('step', 'exporting the image')
    return publishDraft(draft, wanted, { ...options, cache, log: buildLog, signal })
  }

  return {
    owns: id => owned.has(id),
    build: async (wanted, signal) => {
      const startedAt = ports.clock.now()
      const buildLog = openBuildLog(wanted.id, options.api, ports.clock)
      try {
        const imageDigest = await buildIn(wanted, buildLog, signal)
        buildLog.write('step', `built ${imageDigest} as ${wanted.spec.tags.join(', ')}`)
        return { state: 'succeeded', startedAt, finishedAt: ports.clock.now(), imageDigest }
      } catch (error) {
        if (signal.aborted) return { state: 'canceled', startedAt, finishedAt: ports.clock.now() }
        log.warn({ build: wanted.id, err: error }, 'a build failed')
        const fault = toFault(error)
        buildLog.write('stderr', fault.message)
        return { state: 'failed', startedAt, finishedAt: ports.clock.now(), error: fault }
      } finally {
        await buildLog.close()
      }
    },
  }
}

/** The target stage and those that it needs, each once, in order of need. */
async function buildTarget(
  { spec }: DesiredBuild,
  shared: Omit<BuildWork, 'layersOf'>,
  api: ControlPlane,
): Promise<Draft> {
  const { ports, signal, log } = shared
  const context = join(shared.folder, 'context')
  await mkdir(context, { mode: 0o755 })
  const upload = await untilAborted(api.downloadContext(spec.contextId), signal)
  await extractContext(addAbortSignal(signal, upload), context, CONTEXT_LIMITS)
  const dockerfile = parseDockerfile(await readDockerfile(context, spec.dockerfile), spec.dockerfile)
  await applyIgnoreFile(context, spec.dockerfile, signal)
  const globals = globalArgs(dockerfile, spec.args, platformArgs(ports.architecture))
  const scope: Scope = { dockerfile, given: spec.args, globals }
  const stages = resolveStages(dockerfile, globals)

  const pull = once((reference: string) => ports.images.pull(reference))
  const pulled = async (reference: string, platform: string | undefined) => {
    const image = await untilAborted(pull(reference), signal)
    refuseOtherPlatform(reference, platform, image.config.architecture, ports.architecture)
    return draftOf(image)
  }
  const buildStage = async (stage: Stage): Promise<Draft> => {
    const { base, from, instructions } = stage
    const name = stage.name ? `${stage.name} ` : ''
    const count = instructions.length + 1
    log.write('step', `[${name}1/${count}] FROM ${from.text}`)
    // A stage sees earlier ones alone, so that there is no circle.
    const earlier = stages.slice(0, stage.index)
    const layersOf = async (wanted: string) => {
      const source = findStage(earlier, wanted)
      return (await (source ? draftFor(source) : pulled(wanted, undefined))).diffIds
    }
    let draft = EMPTY_DRAFT
    if (base.kind === 'image') {
      draft = await pulled(base.reference, stage.platform)
      refuseTriggers(draft.state.config, from, dockerfile.file)
    }
    if (base.kind === 'stage') draft = await afterStage(base.index)
    for (const [at, instruction] of instructions.entries()) {
      await setImmediate() // Thousands of instructions need no file, and would let nothing else of this process run.
      const label = `[${name}${at + 2}/${count}]`
      draft = await buildInstruction({ ...shared, layersOf }, draft, instruction, scope, label)
    }
    return draft
  }
  const draftFor = once(buildStage)
  /** ARGs end with their stage. */
  const afterStage = async (index: number): Promise<Draft> => {
    const stage = stages[index]
    if (!stage) throw new SlipwayError('internal', `The Dockerfile has no stage ${index}.`)
    const draft = await draftFor(stage)
    return { ...draft, state: { ...draft.state, args: new Map(), hasOwnCommand: false } }
  }
  return draftFor(targetStage(stages, spec.target))
}
