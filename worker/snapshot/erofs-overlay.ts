import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '#worker/host/kernel-error.ts'
import { mountOverlay, unmount } from '#worker/host/mount.ts'
import { type ErofsBacking, mountErofs } from '#worker/host/mount-erofs.ts'
import { indexLayer } from '#worker/layer/index-layer.ts'
import { TAR_END } from '#worker/layer/tar-writer.ts'
import { LayerImages } from './layer-images.ts'
import type { OverlayKind } from './overlay-snapshotter.ts'

const FULL = new Set(['ENOSPC', 'EDQUOT'])

/** The kernel's overlay over layers that are mounted and never unpacked. */
export function erofsOverlay(backing: ErofsBacking): OverlayKind {
  return {
    name: 'erofs',
    mount: async overlay => mountOverlay(overlay),
    openLayers: (dataFolder, trash) => new LayerImages(dataFolder, trash, backing),
  }
}

/**
 * How this host's kernel mounts layers in that folder, found by trying: as files (Linux 6.12), else through loop devices
 * (6.4, or the folder is a tmpfs or lies on an overlay, since overlays can be stacked but twice). Undefined: not at all.
 * On a full disk, where nothing can be tried, loop devices: they show what either way has made, unpacked layers too.
 */
export async function probeErofs(folder: string): Promise<ErofsBacking | undefined> {
  try {
    const trash = join(folder, 'trash') // Where a sweep finds what a killed agent leaves, mounts too.
    await mkdir(trash, { recursive: true, mode: 0o700 })
    const place = await mkdtemp(join(await realpath(trash), 'probe-'))
    await using undo = new AsyncDisposableStack()
    undo.defer(() => rm(place, { recursive: true, force: true }))
    return await probeIn(place)
  } catch (error) {
    if (FULL.has(errnoOf(error) ?? '')) return 'loop'
    throw error
  }
}

async function probeIn(place: string): Promise<ErofsBacking | undefined> {
  const image = { tar: join(place, 'tar'), index: join(place, 'index') }
  for (const name of ['layer', 'upper', 'work', 'rootfs']) await mkdir(join(place, name))
  await indexLayer(emptyTar(), image)
  for (const backing of ['file', 'loop'] as const) if (await canMount(place, image, backing)) return backing
  return undefined
}

async function* emptyTar(): AsyncGenerator<Uint8Array> {
  yield TAR_END
}

async function canMount(place: string, image: { tar: string; index: string }, backing: ErofsBacking): Promise<boolean> {
  const [layer, upper, work, rootfs] = ['layer', 'upper', 'work', 'rootfs'].map(name => join(place, name)) as [
    string,
    string,
    string,
    string,
  ]
  try {
    mountErofs({ ...image, target: layer }, backing)
    mountOverlay({ lower: [layer], upper, work, target: rootfs })
    return true
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined || FULL.has(errno)) throw error
    return false
  } finally {
    for (const target of [rootfs, layer]) await unmount(target)
  }
}
