import { lstatSync } from 'node:fs'
import { posix } from 'node:path'
import type { CopyStep } from '../dockerfile/step.ts'
import { mkdirInRoot } from '../host/rooted-fs.ts'
import { type BuildWork, takeSnapshot } from './build-work.ts'
import { type Owner, ownerOf } from './file-owner.ts'
import type { Draft } from './image-draft.ts'

/**
 * COPY --link: a layer that is made on nothing, and so is found in the cache whatever is below (looked at for that only where what is
 * below is not what it was). Only the folders on the way
 * to its destination count: a layer that has a folder says whose it is, and that shall stay as it was.
 */
export interface Linked {
  folders: { path: string; uid: number; gid: number; mode: number }[]
  owner: Owner | undefined
}

export async function linkedTo(work: BuildWork, draft: Draft, step: CopyStep): Promise<Linked> {
  await using undo = new AsyncDisposableStack()
  const { rootfs } = await takeSnapshot(work, draft, undo)
  return {
    folders: foldersTo(rootfs, step.to),
    owner: step.chown === undefined ? undefined : await ownerOf(step.chown, rootfs),
  }
}

/** Links are not followed: the layer knows nothing of them. */
function foldersTo(rootfs: string, to: string): Linked['folders'] {
  const names = to.split('/').filter(Boolean)
  const folders: Linked['folders'] = []
  for (const [at] of names.entries()) {
    const path = `/${names.slice(0, at + 1).join('/')}`
    const stat = lstatSync(posix.join(rootfs, path), { throwIfNoEntry: false })
    if (!stat?.isDirectory()) break
    folders.push({ path, uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o7777 })
  }
  return folders
}

export async function makeLinkedFolders({ folders }: Linked, rootfs: string): Promise<void> {
  for (const { path, ...owner } of folders) await mkdirInRoot(rootfs, path, owner)
}
