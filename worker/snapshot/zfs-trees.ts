import { randomUUID } from 'node:crypto'
import { mkdir, readdir, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { unmount } from '#worker/host/mount.ts'
import { removeTree } from '#worker/host/remove-tree.ts'
import { programPath } from '#worker/host/run.ts'
import { lgetxattr, lsetxattr } from '#worker/host/syscalls.ts'
import { turns } from '#worker/host/turns.ts'
import { Zfs, type ZfsPrograms } from '#worker/host/zfs.ts'
import type { TreeKind } from './base-trees.ts'

/**
 * On a folder: the dataset of the tree in it; on the driver's folder: the dataset above them all. Goes along when the
 * folder is renamed, and no layer or container can bring one, since `trusted` attributes are never taken from them.
 */
const DATASET = 'trusted.slipway.dataset'
const TREE = 'tree'
/**
 * Mounted by this program alone, never by the pool's import, whose order nobody here knows; and able to hold what images
 * have, whatever the dataset above says.
 */
const PROPERTIES = {
  mountpoint: 'legacy',
  readonly: 'off',
  exec: 'on',
  setuid: 'on',
  xattr: 'sa',
  acltype: 'posixacl',
} as const

/** A driver's trees as datasets below the one that its folder lies on. Makes the dataset above them where it is missing. */
export async function openZfsTrees(
  folder: string,
  programs?: ZfsPrograms,
  newName: () => string = randomUUID,
): Promise<ZfsTrees> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const place = await realpath(folder)
  const zfs = new Zfs(programs)
  const known = datasetOf(place)
  if (known !== undefined && (await zfs.has(known))) return new ZfsTrees(place, known, zfs, newName)
  const root = `${await zfs.datasetAt(place)}/slipway-${newName()}`
  lsetxattr(place, DATASET, Buffer.from(root)) // First: a crash leaves no dataset that nobody knows of.
  await zfs.create(root, { mountpoint: 'none', canmount: 'off', 'slipway:folder': place })
  return new ZfsTrees(place, root, zfs, newName)
}

/** Destroys all datasets of a driver's folder. One that has none, or is not there, is no error. */
export async function destroyZfsTrees(folder: string, programs?: ZfsPrograms): Promise<void> {
  const known = await stat(folder).then(
    () => datasetOf(folder),
    () => undefined,
  )
  if (known === undefined || (await new Zfs(programs).destroy(known))) return
  throw new SlipwayError('host.command-failed', `Files of ${known} are still open: end who has them, then try again.`)
}

/** Does with a small tree all that the driver does, in an empty folder. Throws what is in the way. */
export async function tryZfs(folder: string, programs?: ZfsPrograms): Promise<void> {
  await programPath(programs?.zfs ?? 'zfs').catch(() => {
    throw new Error('There is no program zfs (OpenZFS; its kernel module is not part of Linux).')
  })
  await using undo = new AsyncDisposableStack()
  undo.defer(() => destroyZfsTrees(folder, programs))
  const trees = await openZfsTrees(folder, programs)
  const [base, copy] = [join(folder, 'base'), join(folder, 'copy')] as const
  for (const path of [base, copy]) {
    await mkdir(path)
    undo.defer(() => unmount(join(path, TREE)))
  }
  await trees.create(join(base, TREE))
  await mkdir(join(base, TREE, 'found'))
  await trees.copy(join(base, TREE), join(copy, TREE))
  await trees.show(join(copy, TREE))
  await stat(join(copy, TREE, 'found'))
  await trees.remove(base) // While it has a clone.
  await trees.remove(copy)
}

/**
 * A dataset for each tree, mounted on the folder `tree` for as long as somebody reads or writes it; trees that come from
 * another are clones of it. Paths are those of `tree`; the folder around it, which may be renamed, knows the dataset.
 */
export class ZfsTrees implements TreeKind {
  readonly name = 'zfs'
  readonly isCopyFree = true
  readonly #folder: string
  readonly #root: string
  readonly #zfs: Zfs
  readonly #newName: () => string
  /** Destroying (under no name) is a walk over who is a clone of whom: two at once would take each other's heirs away. */
  readonly #inTurn = turns()
  /** Folders whose datasets were in use when they were to go. */
  readonly #left = new Set<string>()

  constructor(folder: string, root: string, zfs: Zfs, newName: () => string) {
    this.#folder = folder
    this.#root = root
    this.#zfs = zfs
    this.#newName = newName
  }

  async create(path: string): Promise<void> {
    await this.#zfs.create(await this.#nameFor(path), PROPERTIES)
    await this.show(path)
  }

  /** In turn: the first one makes the snapshot that all clones of a tree come from. */
  async copy(from: string, to: string): Promise<void> {
    const source = known(from)
    const name = await this.#nameFor(to)
    await this.#inTurn(source, () => this.#zfs.clone(source, leafOf(source), name, PROPERTIES))
  }

  async show(path: string): Promise<void> {
    const [tree, around] = await Promise.all([stat(path), stat(dirname(path))])
    if (tree.dev === around.dev) await this.#zfs.mount(known(path), path)
  }

  hide(path: string): Promise<void> {
    return unmount(path)
  }

  sharesBlocks(): boolean {
    return true
  }

  ownSize(path: string): Promise<number> {
    return this.#zfs.usedBy(known(path))
  }

  /** A folder whose dataset is in use stays until another one is removed, or the next start. */
  async remove(folder: string): Promise<void> {
    await this.#inTurn('', async () => {
      for (const one of [...this.#left, folder]) await this.#remove(one)
    })
  }

  /** Destroys datasets that no folder of ours names. */
  async sweep(): Promise<void> {
    const found = await this.#zfs.children(this.#root) // First: what comes later is not looked at.
    const named = new Set(await this.#named())
    await this.#inTurn('', async () => {
      for (const name of found.filter(name => !named.has(name))) await this.#zfs.destroy(name)
    })
  }

  async #remove(folder: string): Promise<void> {
    const around = await stat(folder).catch(() => undefined)
    const name = around && datasetOf(folder)
    if (name?.startsWith(`${this.#root}/`)) {
      await this.hide(join(folder, TREE))
      if (!(await this.#zfs.destroy(name))) {
        this.#left.add(folder)
        return
      }
    }
    await removeTree(folder)
    this.#left.delete(folder)
  }

  /** Written down before there is such a dataset: so every dataset has a folder that leads to it. */
  async #nameFor(path: string): Promise<string> {
    const name = `${this.#root}/${this.#newName()}`
    await mkdir(path, { mode: 0o755 })
    lsetxattr(dirname(path), DATASET, Buffer.from(name))
    return name
  }

  async #named(): Promise<string[]> {
    const below = async (folder: string) =>
      (await readdir(folder, { withFileTypes: true }).catch(() => []))
        .filter(entry => entry.isDirectory())
        .map(({ name }) => join(folder, name))
    const places = ['snapshots', 'trash'].map(name => join(this.#folder, name))
    const folders = await Promise.all([...places, ...(await below(join(this.#folder, 'bases')))].map(below))
    return folders.flat().flatMap(folder => datasetOf(folder) ?? [])
  }
}

function datasetOf(folder: string): string | undefined {
  return lgetxattr(folder, DATASET)?.toString()
}

function known(path: string): string {
  const name = datasetOf(dirname(path))
  if (name === undefined) throw new SlipwayError('internal', `No dataset is known for ${path}.`)
  return name
}

function leafOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}
