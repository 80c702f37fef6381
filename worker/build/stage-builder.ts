import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { type ContainerId, newId, type Random } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { HostPorts } from '../execute/ports.ts'
import { mkdirInRoot } from '../host/rooted-fs.ts'
import { packLayer } from '../layer/pack.ts'
import type { Snapshot } from '../snapshot/snapshotter.ts'
import type { openBuildEndpoints } from './build-endpoints.ts'
import type { BuildLog } from './build-log.ts'
import { copyFiles } from './copy-files.ts'
import { digestSources, findSources, type Source } from './copy-sources.ts'
import type { Instruction } from './dockerfile.ts'
import { ownerOf } from './file-owner.ts'
import { type Draft, withState, withStep } from './image-draft.ts'
import { type CopyStep, interpret, type Scope, type Step } from './interpret.ts'
import { runCommand } from './run-command.ts'
import { type StepCache, type StepResult, stepKey } from './step-cache.ts'
import { placed, withoutHostPaths } from './step-fault.ts'
import { type FileStep, stepInputs } from './step-inputs.ts'

/** What all of one build shares. */
export interface SharedWork {
  ports: HostPorts
  cache: StepCache
  log: BuildLog
  endpoints: ReturnType<typeof openBuildEndpoints>
  random: Random
  /** Ids that this agent's builds own: what else is on the host without an owner is removed. */
  owned: Set<string>
  /** Containers that stand still for a build: they are left so. */
  held: Set<string>
  /** This build's own folder. */
  folder: string
  signal: AbortSignal
  /** What a secret holds that the build names. Errors: `secret.…`. */
  secret(name: string): Promise<string>
  /** Told which commit is built. */
  commitIs(commit: string): void
}

/** For the steps of a Dockerfile; the unpacked context is at `context` of the build's folder. */
export interface BuildWork extends SharedWork {
  isCacheUsed: boolean
  /** The layers of what COPY --from names, built or pulled before. */
  layersOf(from: string): Promise<Digest[]>
}

/** One instruction on top of what is there: its file changes become one layer. `label` is its place, as `[2/5]`. */
export async function buildInstruction(
  work: BuildWork,
  draft: Draft,
  instruction: Instruction,
  scope: Scope,
  label: string,
): Promise<Draft> {
  work.signal.throwIfAborted()
  const step = interpret(instruction, draft.state, scope)
  const said = sentenceOf(instruction)
  if (step.kind === 'config') {
    work.log.write('step', `${label} ${said}`)
    // ARG is a matter of the build alone, but history shows it, as Docker's does.
    return withState(draft, step.state, said)
  }
  try {
    return await buildFileStep(work, draft, step, said, label)
  } catch (error) {
    throw placed(error, instruction, scope.dockerfile.file)
  }
}

function sentenceOf({ keyword, flags, text }: Instruction): string {
  return [keyword, ...flags.map(({ name, value }) => `--${name}=${value}`), text].join(' ')
}

async function buildFileStep(
  work: BuildWork,
  draft: Draft,
  step: FileStep,
  said: string,
  label: string,
): Promise<Draft> {
  await using undo = new AsyncDisposableStack()
  const local = step.kind === 'copy' && step.from === undefined ? localSources(work, step) : undefined
  const key = stepKey(stepInputs(draft, step, await contentOf(work, step, local)))
  const known = work.isCacheUsed ? await work.cache.find(key) : undefined
  work.log.write('step', `${known ? 'CACHED ' : ''}${label} ${said}`)
  const result = known ?? (await makeLayer(work, draft, step, local ?? (await sourcesOf(work, step, undo))))
  if (!known) await work.cache.keep(key, result)
  return withStep(draft, result, said, step.kind === 'folder' ? step.state : draft.state)
}

/** What a step copies, and the folder of the host that it is in. */
interface Sources {
  root: string
  found: Source[]
}

function localSources(work: BuildWork, step: CopyStep): Sources {
  const root = join(work.folder, 'context')
  return { root, found: findSources(root, step.sources, 'the build context') }
}

async function contentOf(work: BuildWork, step: FileStep, local: Sources | undefined): Promise<unknown> {
  if (local) return digestSources(local.found, work.signal)
  // A stage's layers say what is in it, without reading it.
  return step.kind === 'copy' && step.from !== undefined ? work.layersOf(step.from) : undefined
}

async function sourcesOf(work: BuildWork, step: FileStep, undo: AsyncDisposableStack): Promise<Sources> {
  if (step.kind !== 'copy' || step.from === undefined) return { root: work.folder, found: [] }
  const { rootfs } = await takeSnapshot(work, await work.layersOf(step.from), undo)
  return { root: rootfs, found: findSources(rootfs, step.sources, step.from) }
}

/** Mounted and owned until `undo` runs; it is removed then, unless its writable layer became a layer. */
async function takeSnapshot(work: BuildWork, layers: readonly Digest[], undo: AsyncDisposableStack): Promise<Snapshot> {
  const id = `build-${newId<ContainerId>(work.random)}`
  work.owned.add(id)
  undo.defer(() => void work.owned.delete(id))
  undo.defer(() => work.ports.snapshots.remove(id))
  return work.ports.snapshots.prepare(id, layers)
}

/** Does the step in a snapshot and keeps what changed: as a gzipped blob to upload, and as a layer to build on. */
async function makeLayer(work: BuildWork, draft: Draft, step: FileStep, sources: Sources): Promise<StepResult> {
  const { snapshots, clock } = work.ports
  await using undo = new AsyncDisposableStack()
  const snapshot = await takeSnapshot(work, draft.diffIds, undo)
  await doStep(work, draft, step, sources.found, snapshot.rootfs).catch((error: unknown) => {
    throw withoutHostPaths(error, [snapshot.rootfs, sources.root, work.folder])
  })
  await snapshots.unmount(snapshot.id)
  const path = join(work.folder, `${snapshot.id}.tar.gz`)
  undo.defer(() => rm(path, { force: true }))
  const { upper, lower } = undo.use(await snapshots.openChanges(snapshot.id))
  const { isEmpty, diffId, unpackedBytes, digest, size } = await packLayer(upper, { path, lower, signal: work.signal })
  const created = new Date(clock.now()).toISOString()
  if (isEmpty) return { created }
  await snapshots.adoptUpper(snapshot.id, diffId)
  await rename(path, work.cache.blobPath(digest))
  return { created, layer: { diffId, unpackedBytes, digest, size } }
}

async function doStep(work: BuildWork, draft: Draft, step: FileStep, sources: Source[], rootfs: string): Promise<void> {
  if (step.kind === 'folder') {
    await mkdirInRoot(rootfs, step.path, { ...(await ownerOf(step.user, rootfs)), mode: 0o755 })
  } else if (step.kind === 'copy') await copyFiles(step, sources, rootfs, join(work.folder, 'unpacked'), work.signal)
  else await doRun(work, draft, step, rootfs)
}

async function doRun(
  work: BuildWork,
  draft: Draft,
  step: Extract<Step, { kind: 'run' }>,
  rootfs: string,
): Promise<void> {
  const id = newId<ContainerId>(work.random)
  const folder = join(work.folder, 'run', id)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await using undo = new AsyncDisposableStack()
  const { endpoint } = undo.use(work.endpoints.take())
  work.owned.add(id)
  undo.defer(() => void work.owned.delete(id))
  const exitCode = await runCommand(
    { id, args: step.args, env: step.env, image: draft.state.config, rootfs, endpoint, folder },
    work.ports,
    ({ stream, text }) => work.log.write(stream, text),
    work.signal,
  )
  if (exitCode === 0) return
  const message = `The command ended with exit code ${exitCode}: see the build's log.`
  throw new SlipwayError('build.step-failed', message, { facts: { exitCode } })
}
