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
import { type Draft, withState, withStep } from './image-draft.ts'
import { type CopyStep, interpret, type Scope, type Step } from './interpret.ts'
import { runCommand } from './run-command.ts'
import { type StepCache, type StepResult, stepKey } from './step-cache.ts'

/** What the steps of one build share. */
export interface BuildWork {
  ports: HostPorts
  cache: StepCache
  log: BuildLog
  endpoints: ReturnType<typeof openBuildEndpoints>
  random: Random
  /** Ids that this agent's builds own: what else is on the host without an owner is removed. */
  owned: Set<string>
  /** This build's own folder, with the unpacked context at `context`. */
  folder: string
  isCacheUsed: boolean
  signal: AbortSignal
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

/** Faults of a step say where it stands. */
function placed(error: unknown, { line, column }: Instruction, file: string): unknown {
  if (!(error instanceof SlipwayError) || 'line' in error.facts) return error
  if (!/^(build|container)\./.test(error.code)) return error
  const facts = { ...error.facts, file, line, column }
  const code = error.code.startsWith('container.') ? 'build.step-failed' : error.code
  return new SlipwayError(code, `${file}:${line}: ${error.message}`, { cause: error, facts })
}

type FileStep = Exclude<Step, { kind: 'config' }>

async function buildFileStep(
  work: BuildWork,
  draft: Draft,
  step: FileStep,
  said: string,
  label: string,
): Promise<Draft> {
  await using undo = new AsyncDisposableStack()
  const sources = step.kind === 'copy' ? await sourcesOf(work, step, undo) : []
  const key = stepKey(await inputsOf(work, draft, step, sources))
  const known = work.isCacheUsed ? await work.cache.find(key) : undefined
  work.log.write('step', `${known ? 'CACHED ' : ''}${label} ${said}`)
  const result = known ?? (await makeLayer(work, draft, step, sources))
  if (!known) await work.cache.keep(key, result)
  return withStep(draft, result, said, step.kind === 'folder' ? step.state : draft.state)
}

/** Everything that the step's files depend on, and nothing else. */
async function inputsOf(work: BuildWork, draft: Draft, step: FileStep, sources: Source[]): Promise<unknown> {
  const below = draft.diffIds
  if (step.kind === 'folder') return ['folder', below, step.path]
  if (step.kind === 'run') {
    const { Env, User, WorkingDir } = draft.state.config
    const env = step.env.filter(entry => !/^(https?|ftp|no|all)_proxy=/i.test(entry))
    return ['run', below, step.args, env, Env, User, WorkingDir]
  }
  const { to, chown, chmod, unpacks, from } = step
  // A stage's layers say what is in it, without reading it.
  const content = from === undefined ? await digestSources(sources, work.signal) : await work.layersOf(from)
  return ['copy', below, step.sources, to, chown, chmod, unpacks, content]
}

async function sourcesOf(work: BuildWork, step: CopyStep, undo: AsyncDisposableStack): Promise<Source[]> {
  if (step.from === undefined) return findSources(join(work.folder, 'context'), step.sources, 'the build context')
  const { rootfs } = await takeSnapshot(work, await work.layersOf(step.from), undo)
  return findSources(rootfs, step.sources, step.from)
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
async function makeLayer(work: BuildWork, draft: Draft, step: FileStep, sources: Source[]): Promise<StepResult> {
  const { snapshots, clock } = work.ports
  await using undo = new AsyncDisposableStack()
  const snapshot = await takeSnapshot(work, draft.diffIds, undo)
  await doStep(work, draft, step, sources, snapshot.rootfs)
  await snapshots.unmount(snapshot.id)
  const path = join(work.folder, `${snapshot.id}.tar.gz`)
  undo.defer(() => rm(path, { force: true }))
  const { upper, lower } = snapshot
  const { isEmpty, diffId, digest, size } = await packLayer(upper, { path, lower, signal: work.signal })
  const created = new Date(clock.now()).toISOString()
  if (isEmpty) return { created }
  await snapshots.adoptUpper(snapshot.id, diffId)
  await rename(path, work.cache.blobPath(digest))
  return { created, layer: { diffId, digest, size } }
}

async function doStep(work: BuildWork, draft: Draft, step: FileStep, sources: Source[], rootfs: string): Promise<void> {
  if (step.kind === 'folder') await mkdirInRoot(rootfs, step.path, { uid: 0, gid: 0, mode: 0o755 })
  else if (step.kind === 'copy') await copyFiles(step, sources, rootfs, join(work.folder, 'unpacked'), work.signal)
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
