import { join } from 'node:path'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import { splitEntry, withConfig, withEnv } from '../dockerfile/stage-state.ts'
import { type OpenSnapshot, openSnapshot } from '../execute/container-snapshot.ts'
import { type PackedLayer, packLayer } from '../layer/pack.ts'
import { MOUNT_POINTS } from '../runtime/mount-points.ts'
import type { SharedWork } from './build-work.ts'
import { annotated, type Draft, draftOf, EMPTY_DRAFT, withStep } from './image-draft.ts'
import { keepLayer } from './plain-layer.ts'
import { withChanges } from './told-changes.ts'

type Spec = BuildSpecOf<'container'>
type ReadingWork = Pick<SharedWork, 'ports' | 'held' | 'signal'>

/**
 * The image that a container has become (`docker commit`): its own image, a layer of what it changed, and the
 * configuration that it was started with. It stands still while its files are read. Errors:
 * `container.files-unavailable`, `build.dockerfile-invalid` for changes, those of `packLayer`.
 */
export async function fromContainer(spec: Spec, work: SharedWork): Promise<Draft> {
  const { container, message, author } = spec
  withChanges(EMPTY_DRAFT, spec) // Before the container is held: what is wrong with the changes is known at once.
  await using undo = new AsyncDisposableStack()
  const snapshot = undo.use(await openSnapshot(work.ports, container.id, container.spec))
  const draft = withChanges(startedAs(draftOf(snapshot.image), container.spec), spec)
  const path = join(work.folder, 'changes.layer')
  const packed = await packChanges(spec, work, snapshot, path)
  const said = (container.spec.command ?? container.spec.entrypoint ?? []).join(' ')
  return annotated(withStep(draft, await keepLayer(packed, work), said), { comment: message, author })
}

/** As a layer at `path`, what the container changed. Errors: `container.files-unavailable` also where they went meanwhile. */
export async function packChanges(
  spec: Spec,
  work: ReadingWork,
  snapshot: Pick<OpenSnapshot, 'requireWhole'>,
  path: string,
): Promise<PackedLayer> {
  const read = async () => {
    const placeholders = new Set(MOUNT_POINTS.keys())
    await using changes = await work.ports.snapshots.openChanges(spec.container.id)
    const { compression, compressionLevel: level } = spec
    const packing = { path, compression, level, signal: work.signal }
    return await packLayer(changes.upper, { ...packing, lower: changes.lower, placeholders })
  }
  // A layer without what was taken away would be taken for the whole.
  return standingStill(spec, work, read).finally(snapshot.requireWhole)
}

/** Nothing writes while `read` runs; nobody lets the container go on meanwhile but a stop, or an agent's death. */
async function standingStill<T>({ container, pauses }: Spec, work: ReadingWork, read: () => Promise<T>): Promise<T> {
  const { ports, held } = work
  const isRunning = (await ports.runtime.inspect(container.id)).state === 'running'
  if (!pauses || !isRunning) return read()
  await using undo = new AsyncDisposableStack()
  held.add(container.id)
  undo.defer(() => void held.delete(container.id))
  await ports.runtime.pause(container.id)
  undo.defer(async () => {
    if ((await ports.runtime.inspect(container.id)).state === 'paused') await ports.runtime.resume(container.id)
  })
  return await read()
}

/** Docker's rule: what the container was started with stands in for what its image says. */
function startedAs(draft: Draft, spec: ContainerSpec): Draft {
  const { entrypoint, command, workdir, user, labels, stopSignal } = spec
  const state = withEnv(draft.state, spec.env.map(splitEntry))
  const { Cmd, ...inherited } = state.config
  // A command of the image belongs to its entrypoint: another entrypoint takes it away.
  const kept = entrypoint === undefined && Cmd !== undefined ? { Cmd } : {}
  const given = {
    ...(entrypoint === undefined ? {} : { Entrypoint: entrypoint }),
    ...(command === undefined ? kept : { Cmd: command }),
    ...(workdir === undefined ? {} : { WorkingDir: workdir }),
    ...(user === undefined ? {} : { User: user }),
    ...(stopSignal === undefined ? {} : { StopSignal: stopSignal }),
    ...(Object.keys(labels).length === 0 ? {} : { Labels: { ...inherited.Labels, ...labels } }),
  }
  return { ...draft, state: withConfig({ ...state, config: inherited }, given) }
}
