import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { type ContainerId, newId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import { interpret } from '../dockerfile/interpret.ts'
import type { Scope } from '../dockerfile/scope.ts'
import type { CopyStep, RunStep } from '../dockerfile/step.ts'
import { mkdirInRoot } from '../host/rooted-fs.ts'
import { packLayer } from '../layer/pack.ts'
import { type BuildWork, takeSnapshot } from './build-work.ts'
import { cachedStep } from './cached-step.ts'
import { clampTimes } from './clamp-times.ts'
import { copyFiles, excludesOf } from './copy-files.ts'
import { type CopySource, findSources } from './copy-sources.ts'
import { digestSources } from './digest-sources.ts'
import { ownerOf } from './file-owner.ts'
import { type Draft, withState, withStep } from './image-draft.ts'
import { type Linked, linkedTo, makeLinkedFolders } from './linked-copy.ts'
import { runCommand } from './run-command.ts'
import { contentOfMounts, openMounts } from './run-mounts.ts'
import { openMaskedLog } from './secret-mask.ts'
import { givenSources } from './source-folders.ts'
import { type StepResult, stepKey } from './step-cache.ts'
import { placed, withoutHostPaths } from './step-fault.ts'
import { type FileStep, stepInputs } from './step-inputs.ts'

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

function sentenceOf({ keyword, flags, text, heredocs }: Instruction): string {
  const written = flags.map(({ name, value }) => (value === undefined ? `--${name}` : `--${name}=${value}`))
  const bodies = heredocs.map(document => `\n${document.text}${document.name}`)
  return [keyword, ...written, text].join(' ') + bodies.join('')
}

async function buildFileStep(
  work: BuildWork,
  draft: Draft,
  step: FileStep,
  said: string,
  label: string,
): Promise<Draft> {
  if (step.kind === 'run') {
    refuseForbidden(work, step)
    if (step.network !== 'none') work.materials.reachedOut()
  }
  const given = step.kind === 'copy' ? await givenSources(work, step) : []
  const linked = step.kind === 'copy' && step.isLinked ? await linkedTo(work, draft, step) : undefined
  const content = await contentOf(work, step, given)
  const key = stepKey(stepInputs(draft, step, { content, linked, epoch: work.epoch }))
  const known = work.isCacheUsed ? await cachedStep(work, key) : undefined
  const shown = said.split('\n', 1)[0] ?? ''
  work.log.write('step', `${known ? 'CACHED ' : ''}${label} ${shown}`)
  const result = known ?? (await makeLayer(work, draft, step, { given, linked }))
  if (!known) await work.cache.keep(key, result)
  return withStep(draft, result, said, step.kind === 'folder' ? step.state : draft.state)
}

function refuseForbidden({ allowed }: BuildWork, { network, security }: RunStep): void {
  const asked = [network === 'host' ? 'network.host' : '', security === 'insecure' ? 'security.insecure' : '']
  const missing = asked.find(name => name !== '' && !allowed.has(name))
  if (missing === undefined) return
  const message = `This step asks for ${missing}: the build has to allow it ("allow"), and so has the host (SLIPWAY_BUILDS_MAY).`
  throw new SlipwayError('build.not-allowed', message, { facts: { missing } })
}

/** What the step reads besides what is below it. */
async function contentOf(work: BuildWork, step: FileStep, given: readonly CopySource[]): Promise<unknown> {
  if (step.kind === 'run') return contentOfMounts(work, step)
  if (step.kind === 'folder') return undefined
  const digest = given.length > 0 ? await digestSources(given, work.signal, excludesOf(step)) : undefined
  const isContext = (await work.contextOf(step.from)) !== undefined
  // A stage's layers say what is in it, without reading it.
  return { digest, layers: isContext || step.from === undefined ? undefined : await work.layersOf(step.from) }
}

/** The folder of the host that the sources of another stage or image are in, and all sources. */
async function allSources(work: BuildWork, step: CopyStep, given: CopySource[], undo: AsyncDisposableStack) {
  if (step.from === undefined || (await work.contextOf(step.from))) return { root: work.folder, found: given }
  const { rootfs } = await takeSnapshot(work, await work.layersOf(step.from), undo)
  const found = findSources({ path: rootfs, name: step.from }, step.sources, step.keepsParents)
  return { root: rootfs, found: [...found, ...given] }
}

interface Material {
  given: CopySource[]
  linked: Linked | undefined
}

/** Does the step in a snapshot and keeps what changed: as a compressed blob to upload, and as a layer to build on. */
async function makeLayer(work: BuildWork, draft: Draft, step: FileStep, material: Material): Promise<StepResult> {
  await using undo = new AsyncDisposableStack()
  const sources = step.kind === 'copy' ? await allSources(work, step, material.given, undo) : undefined
  const below: Digest[] = material.linked ? [] : draft.diffIds
  const snapshot = await takeSnapshot(work, below, undo)
  try {
    if (step.kind === 'folder') {
      const owner = await ownerOf(step.user, snapshot.rootfs)
      await mkdirInRoot(snapshot.rootfs, step.path, { ...owner, mode: 0o755 })
    } else if (step.kind === 'run') await doRun(work, draft, step, snapshot.rootfs)
    else await doCopy(work, step, sources?.found ?? [], snapshot.rootfs, material.linked)
  } catch (error) {
    throw withoutHostPaths(error, [snapshot.rootfs, sources?.root ?? work.folder, work.folder])
  }
  return await packedChanges(work, snapshot.id, undo)
}

async function doCopy(
  work: BuildWork,
  step: CopyStep,
  sources: readonly CopySource[],
  rootfs: string,
  linked: Linked | undefined,
): Promise<void> {
  if (linked) await makeLinkedFolders(linked, rootfs)
  const owner = linked?.owner
  const chown = owner ? `${owner.uid}:${owner.gid}` : step.chown
  await copyFiles({ ...step, chown }, sources, rootfs, join(work.folder, 'unpacked'), work.signal)
}

async function packedChanges(work: BuildWork, id: string, undo: AsyncDisposableStack): Promise<StepResult> {
  const { snapshots, clock } = work.ports
  await snapshots.unmount(id)
  const path = join(work.folder, `${id}.layer`)
  undo.defer(() => rm(path, { force: true }))
  const { upper, lower } = undo.use(await snapshots.openChanges(id))
  if (work.epoch !== undefined) await clampTimes(upper, work.epoch, work.signal)
  const { compression, compressionLevel: level } = work.packing
  const packed = await packLayer(upper, { path, lower, compression, level, signal: work.signal })
  const { isEmpty, diffId, unpackedBytes, digest, size } = packed
  const created = new Date(work.epoch === undefined ? clock.now() : work.epoch * 1000).toISOString()
  if (isEmpty) return { created }
  await snapshots.adoptUpper(id, diffId)
  await rename(path, work.cache.blobPath(digest))
  return { created, layer: { diffId, unpackedBytes, compression, digest, size } }
}

async function doRun(work: BuildWork, draft: Draft, step: RunStep, rootfs: string): Promise<void> {
  const id = newId<ContainerId>(work.random)
  const folder = join(work.folder, 'run', id)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await using undo = new AsyncDisposableStack()
  const endpoint = step.network === 'default' ? undo.use(work.endpoints.take()).endpoint : undefined
  work.owned.add(id)
  undo.defer(() => void work.owned.delete(id))
  const { mounts, env } = await openMounts(work, step, undo)
  const { args, network, security } = step
  const command = { id, args, env: [...step.env, ...env], image: draft.state.config, rootfs, endpoint, folder }
  const log = openMaskedLog(work.secrets, work.log.write)
  const exitCode = await runCommand(
    { ...command, mounts, network, security },
    work.ports,
    log.line,
    work.signal,
  ).finally(log.close)
  if (exitCode === 0) return
  const message = `The command ended with exit code ${exitCode}: see the build's log.`
  throw new SlipwayError('build.step-failed', message, { facts: { exitCode } })
}
