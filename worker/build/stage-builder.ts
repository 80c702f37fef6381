import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { type ContainerId, newId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import type { Instruction } from '../dockerfile/instruction.ts'
import type { CopyStep, RunStep } from '../dockerfile/step.ts'
import { mkdirInRoot } from '../host/rooted-fs.ts'
import { packLayer } from '../layer/pack.ts'
import { alsoKnownAs } from './also-known.ts'
import { type BuildWork, type MadeStep, type StepWork, takeSnapshot } from './build-work.ts'
import { clampTimes } from './clamp-times.ts'
import { copiedBefore } from './copied-before.ts'
import { copyFiles } from './copy-files.ts'
import { type CopySource, findSources } from './copy-sources.ts'
import { doneOnce } from './done-once.ts'
import { ownerOf } from './file-owner.ts'
import { type Draft, EMPTY_DRAFT, withState, withStep } from './image-draft.ts'
import { inSlot } from './in-slot.ts'
import { type Linked, linkedTo, makeLinkedFolders } from './linked-copy.ts'
import { runCommand } from './run-command.ts'
import { openMounts } from './run-mounts.ts'
import { openMaskedLog } from './secret-mask.ts'
import { type PlannedStep, sourceNames } from './stage-plan.ts'
import { stepKey } from './step-cache.ts'
import { placed, withoutHostPaths } from './step-fault.ts'
import { type FileStep, stepInputs } from './step-inputs.ts'
import { type Look, lookAtStep } from './step-look.ts'

interface StepOptions {
  /** Undefined for an instruction that changes no file. */
  look: Promise<Look> | undefined
  /** The Dockerfile's name. */
  file: string
  /** The step's place, as `[build 2/5]`. */
  label: string
}

/** One instruction on top of what is there: its file changes become one layer, and it is one step of the log. */
export async function buildStep(
  work: BuildWork,
  draft: Draft,
  { instruction, step }: PlannedStep,
  { look, file, label }: StepOptions,
): Promise<Draft> {
  work.signal.throwIfAborted()
  const said = sentenceOf(instruction)
  // ARG is a matter of the build alone, but history shows it, as Docker's does.
  if (step.kind === 'config') return withState(draft, step.state, said)
  const doStep = async (output: StepWork['output']) => {
    try {
      await othersOf(work, step, output)
      const { result, key } = await resultOf({ ...work, output }, draft, step, await (look ?? lookAtStep(work, step)))
      return { ...withStep(draft, result, said, step.kind === 'folder' ? step.state : draft.state), lastStep: key }
    } catch (error) {
      throw placed(error, instruction, file)
    }
  }
  // A fault that was found ahead has ended the build before its step's turn came.
  const isOwnFault = (error: unknown) =>
    error === work.firstFault() && error instanceof SlipwayError && error.facts.line === instruction.line
  return work.log.step(`${label} ${said.split('\n', 1)[0]}`, work.signal, doStep, isOwnFault)
}

/** What other stages and images give: their faults are told by whoever asks for them. */
async function othersOf(work: BuildWork, step: FileStep, output: StepWork['output']): Promise<void> {
  const begun = output.waits()
  await Promise.allSettled(sourceNames(step).map(work.layersOf))
  begun()
}

function sentenceOf({ keyword, flags, text, heredocs }: Instruction): string {
  const written = flags.map(({ name, value }) => (value === undefined ? `--${name}` : `--${name}=${value}`))
  const bodies = heredocs.map(document => `\n${document.text}${document.name}`)
  return [keyword, ...written, text].join(' ') + bodies.join('')
}

async function resultOf(work: StepWork, draft: Draft, step: FileStep, { content, fetched }: Look) {
  const isLinked = step.kind === 'copy' && step.isLinked
  const keyOf = (linked: unknown) => {
    const { architecture } = work.ports
    return stepKey(stepInputs(draft, step, { content, linked, epoch: work.epoch, architecture }))
  }
  // Whoever holds a slot waits for none, and for no other step: what it reads is all there by now.
  const make = (linked?: Linked) => {
    const begun = work.output.waits()
    return inSlot(work.slots, work.signal, () => {
      begun()
      return makeLayer(work, draft, step, { fetched, linked })
    })
  }
  // A linked copy is found by what is below it, which has not to be there for that, and else by its folders alone, whatever is below.
  const makeLinked = async (copy: CopyStep) => {
    const linked = await linkedTo(work, draft, copy)
    const byFolders = keyOf(linked)
    const madeOrFound = () => alsoKnownAs(work, byFolders, async () => (await make(linked)).result)
    return { result: await work.steps.take(byFolders, madeOrFound, work.signal) }
  }
  const key = keyOf(isLinked ? ['link', draft.diffIds] : undefined)
  return {
    key,
    result: await doneOnce(work, { key, after: draft.lastStep }, () => (isLinked ? makeLinked(step) : make())),
  }
}

/** All sources, and the folder of the host that they are in: `isImage`, that of another stage's or image's files. */
async function allSources(work: BuildWork, step: CopyStep, fetched: CopySource[], undo: AsyncDisposableStack) {
  const context = await work.contextOf(step.from)
  if (context) {
    // Found anew: a list of them may be long, and would be kept for all steps that are looked at ahead.
    return {
      root: work.folder,
      isImage: false,
      found: [...findSources(context, step.sources, step.keepsParents), ...fetched],
    }
  }
  const { rootfs } = await takeSnapshot(work, await work.layersOf(step.from ?? ''), undo)
  const found = findSources({ path: rootfs, name: step.from ?? '' }, step.sources, step.keepsParents)
  return { root: rootfs, isImage: true, found: [...found, ...fetched] }
}

interface Material {
  fetched: CopySource[]
  linked: Linked | undefined
}

/** Does the step in a snapshot and keeps what changed: as a compressed blob to upload, and as a layer to build on. */
async function makeLayer(work: StepWork, draft: Draft, step: FileStep, material: Material): Promise<MadeStep> {
  await using undo = new AsyncDisposableStack()
  if (step.kind !== 'copy') return await madeOn(work, draft, step, undefined, undo)
  const sources = await allSources(work, step, material.fetched, undo)
  const make = async () => (await madeOn(work, draft, step, { ...sources, linked: material.linked }, undo)).result
  if (!sources.isImage) return { result: await make() }
  const { found } = sources
  return { result: await copiedBefore(work, draft, step, { found, linked: material.linked }, make) }
}

interface Copied {
  root: string
  found: readonly CopySource[]
  linked: Linked | undefined
}

async function madeOn(
  work: StepWork,
  draft: Draft,
  step: FileStep,
  copied: Copied | undefined,
  undo: AsyncDisposableStack,
): Promise<MadeStep> {
  let lackedMemory = false
  const below = copied?.linked ? EMPTY_DRAFT : draft
  const snapshot = await takeSnapshot(work, below, undo)
  try {
    if (step.kind === 'folder') {
      const owner = await ownerOf(step.user, snapshot.rootfs)
      await mkdirInRoot(snapshot.rootfs, step.path, { ...owner, mode: 0o755 })
    } else if (step.kind === 'run') lackedMemory = await doRun(work, draft, step, snapshot.rootfs)
    else await doCopy(work, step, copied?.found ?? [], snapshot.rootfs, copied?.linked)
  } catch (error) {
    throw withoutHostPaths(error, [snapshot.rootfs, copied?.root ?? work.folder, work.folder])
  }
  return { result: await packedChanges(work, snapshot.id, undo), lackedMemory }
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
  work.keeps(unpackedBytes)
  await rename(path, work.cache.blobPath(digest))
  return { created, layer: { diffId, unpackedBytes, compression, digest, size } }
}

/** Whether the kernel killed processes of it for want of memory, and it succeeded all the same. */
async function doRun(work: StepWork, draft: Draft, step: RunStep, rootfs: string): Promise<boolean> {
  const id = newId<ContainerId>(work.random)
  const folder = join(work.folder, 'run', id)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await using undo = new AsyncDisposableStack()
  const endpoint = step.network === 'default' ? undo.use(await work.endpoints.take(work.signal)).endpoint : undefined
  work.owned.add(id)
  undo.defer(() => void work.owned.delete(id))
  const { mounts, env } = await openMounts(work, step, undo)
  const { args, network, security } = step
  const command = { id, args, env: [...step.env, ...env], image: draft.state.config, rootfs, endpoint, folder }
  const log = openMaskedLog(work.secrets, work.output.write)
  const output = { line: log.line, isFull: work.output.isFull }
  const { exitCode, memoryKills } = await runCommand(
    { ...command, mounts, network, security, limits: work.limits },
    work.ports,
    output,
    work.signal,
  ).finally(log.close)
  if (memoryKills > 0) work.output.write('stderr', sentenceOfKills(memoryKills, work.limits, exitCode === 0))
  if (exitCode === 0) return memoryKills > 0
  const message = `The command ended with exit code ${exitCode}: see the build's log.`
  throw new SlipwayError('build.step-failed', message, { facts: { exitCode } })
}

function sentenceOfKills(kills: number, { memoryBytes }: BuildWork['limits'], isSuccess: boolean): string {
  const who = kills === 1 ? '1 process of this step was' : `${kills} processes of this step were`
  const what =
    memoryBytes === undefined ? "the host's memory ran out" : `it may have ${sizeInWords(memoryBytes)} of memory`
  const left = isSuccess
    ? ' Its exit code is 0, so the build goes on; no later build takes its result from the cache.'
    : ''
  return `${who} killed by the kernel: ${what}.${left}`
}
