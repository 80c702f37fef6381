import { lstatSync } from 'node:fs'
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import type { CacheMount, RunMount, RunStep, SecretMount } from '../dockerfile/step.ts'
import { SCRIPT_FOLDER } from '../dockerfile/step.ts'
import { copyTree } from '../host/copy-tree.ts'
import { mountMemory } from '../host/mount-memory.ts'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import { openSshAgent } from '../host/ssh-agent.ts'
import type { OciMount } from '../runtime/oci-config.ts'
import { type BuildWork, type StepWork, takeSnapshot } from './build-work.ts'
import { findSources } from './copy-sources.ts'
import { digestSources } from './digest-sources.ts'
import { missingSource, type SourceRoot } from './missing-source.ts'
import { ownFolder } from './source-folders.ts'

export interface OpenMounts {
  mounts: OciMount[]
  /** Secrets that come as variables. */
  env: string[]
}

/** What the step can read by `--mount`, for the cache's key: digests of a context's files, layers of stages and images. */
export async function contentOfMounts(work: BuildWork, step: RunStep): Promise<unknown[]> {
  const contents: unknown[] = []
  for (const mount of step.mounts) {
    if (mount.type !== 'bind' && !(mount.type === 'cache' && mount.from !== undefined)) continue
    const context = await work.contextOf(mount.from)
    if (!context) contents.push((await work.layersOf(mount.from ?? '')).diffIds)
    else {
      const known = context.digests?.files
      contents.push(await digestSources(findSources(context, [literal(mount.source)]), work.signal, { known }))
    }
  }
  return contents
}

/** A path that is no pattern, for whatever takes patterns. */
const literal = (path: string) => path.replace(/[*?[\\]/g, '\\$&')

const SECRETS_BYTES = 4 * 1024 * 1024

/** What `--mount` asks for, there until `undo` runs. Nothing that is written to it becomes part of the layer. */
export async function openMounts(work: StepWork, step: RunStep, undo: AsyncDisposableStack): Promise<OpenMounts> {
  const opened: OpenMounts = { mounts: [], env: [] }
  const caches = await cacheFolders(work, step, undo)
  for (const mount of step.mounts) await open({ work, caches, undo }, mount, opened)
  if (step.script) {
    const folder = await ownFolder(work)
    await writeFile(join(folder, step.script.name), step.script.text)
    await chmod(join(folder, step.script.name), 0o755)
    opened.mounts.push(bound(SCRIPT_FOLDER, folder, false))
  }
  return opened
}

interface Opening {
  work: BuildWork
  /** The folders of all mounts of caches. */
  caches: ReadonlyMap<CacheMount, string>
  undo: AsyncDisposableStack
}

async function open({ work, caches, undo }: Opening, mount: RunMount, opened: OpenMounts): Promise<void> {
  switch (mount.type) {
    case 'bind': {
      const source = await sourceOf(work, mount, undo)
      opened.mounts.push(bound(mount.target, source, mount.isWritable))
      return
    }
    case 'cache':
      opened.mounts.push(bound(mount.target, caches.get(mount) ?? '', mount.isWritable))
      return
    case 'tmpfs': {
      const size = mount.sizeBytes === undefined ? [] : [`size=${mount.sizeBytes}`]
      const options = ['nosuid', 'nodev', 'mode=1777', ...size]
      opened.mounts.push({ destination: mount.target, type: 'tmpfs', source: 'tmpfs', options })
      return
    }
    case 'secret':
      return openSecret(work, mount, opened, undo)
    default:
      return openSsh(work, mount, opened, undo)
  }
}

function bound(destination: string, source: string, isWritable: boolean): OciMount {
  const options = ['bind', 'rprivate', 'nosuid', 'nodev', isWritable ? 'rw' : 'ro']
  return { destination, source, type: 'bind', options }
}

type FromSomewhere = Pick<CacheMount, 'from' | 'source' | 'isWritable'>

/** A context is copied for whoever may write; a stage's files come in a snapshot that is thrown away. */
async function sourceOf(work: BuildWork, mount: FromSomewhere, undo: AsyncDisposableStack): Promise<string> {
  const context = await work.contextOf(mount.from)
  if (!context) {
    const from = mount.from ?? ''
    const { rootfs } = await takeSnapshot(work, await work.layersOf(from), undo)
    return pathIn({ path: rootfs, name: from }, mount.source)
  }
  const path = pathIn(context, mount.source)
  if (!mount.isWritable) return path
  const copy = join(await ownFolder(work), 'copy')
  await copyTree(path, copy)
  return copy
}

function pathIn(root: SourceRoot, source: string): string {
  const path = resolveInRootSync(root.path, source)
  if (lstatSync(path, { throwIfNoEntry: false })) return path
  throw missingSource(root, source)
}

/**
 * Steps that run side by side wait for each other's locked folders: all take them in the order of their names, so that none
 * holds what another waits for, and one folder once, whatever mounts it.
 */
async function cacheFolders(
  work: StepWork,
  step: RunStep,
  undo: AsyncDisposableStack,
): Promise<Map<CacheMount, string>> {
  const folders = new Map<CacheMount, string>()
  const mounts = step.mounts.filter(mount => mount.type === 'cache')
  const nameOf = ({ id, sharing }: CacheMount) => JSON.stringify([id, sharing])
  const taken = new Map<string, string>()
  for (const mount of mounts.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))) {
    const known = mount.sharing === 'private' ? undefined : taken.get(nameOf(mount))
    const path = known ?? (await cacheFolder(work, mount, undo))
    taken.set(nameOf(mount), path)
    folders.set(mount, path)
  }
  return folders
}

async function cacheFolder(work: StepWork, mount: CacheMount, undo: AsyncDisposableStack): Promise<string> {
  const fill = async (folder: string) => {
    if (mount.from === undefined) return
    await using files = new AsyncDisposableStack()
    await copyTree(await sourceOf(work, { ...mount, isWritable: false }, files), folder)
  }
  const restore = work.mountTransfer.restoring(mount.id, work.output, work.signal)
  const taken = undo.use(await work.cacheMounts.take(mount, { fill, restore }, work.signal))
  if (mount.isWritable) work.mountTransfer.used(mount.id, taken.name)
  return taken.path
}

function notGiven(what: string, id: string): SlipwayError {
  return new SlipwayError(
    'build.secret-missing',
    `${what} ${id} was not given with the build: give it in "${what === 'The secret' ? 'secrets' : 'ssh'}".`,
  )
}

async function openSecret(
  work: BuildWork,
  mount: SecretMount,
  opened: OpenMounts,
  undo: AsyncDisposableStack,
): Promise<void> {
  const value = work.secrets.secrets[mount.id]
  if (value === undefined) {
    if (mount.isRequired) throw notGiven('The secret', mount.id)
    return
  }
  if (mount.env !== undefined) opened.env.push(`${mount.env}=${value}`)
  if (mount.target === undefined) return
  const folder = memoryFolder(await ownFolder(work), undo)
  const path = join(folder, 'secret')
  await writeFile(path, value, { mode: 0o600 })
  await chown(path, mount.uid, mount.gid)
  await chmod(path, mount.mode)
  const { options, ...rest } = bound(mount.target, path, false)
  opened.mounts.push({ ...rest, options: [...options, 'noexec'] })
}

function memoryFolder(own: string, undo: AsyncDisposableStack): string {
  const folder = join(own, 'memory')
  undo.use(mountMemory(folder, SECRETS_BYTES))
  return folder
}

async function openSsh(
  work: BuildWork,
  mount: Extract<RunMount, { type: 'ssh' }>,
  opened: OpenMounts,
  undo: AsyncDisposableStack,
): Promise<void> {
  const key = work.secrets.ssh[mount.id]
  if (key === undefined) {
    if (mount.isRequired) throw notGiven('The key for ssh', mount.id)
    return
  }
  const socket = join(memoryFolder(await ownFolder(work), undo), 'agent')
  await mkdir(dirname(socket), { recursive: true })
  undo.use(await openSshAgent(socket, key))
  await chown(socket, mount.uid, mount.gid)
  await chmod(socket, mount.mode)
  opened.mounts.push(bound(mount.target, socket, true))
  opened.env.push(`SSH_AUTH_SOCK=${mount.target}`)
}
