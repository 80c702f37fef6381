import { createHash } from 'node:crypto'
import { createReadStream, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Digest } from '#shared/digest.ts'
import { digestFromHex, digestHex } from '#shared/digest.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { openImageStore } from '#worker/image/oci-image-store.ts'
import { erofsOverlay } from '#worker/snapshot/erofs-overlay.ts'
import { FUSE_OVERLAY } from '#worker/snapshot/fuse-overlay.ts'
import { openOverlaySnapshotter, UNPACKED_OVERLAY } from '#worker/snapshot/overlay-snapshotter.ts'
import { folderOf } from '#worker/snapshot/probe.ts'
import { BTRFS, openTreeSnapshotter, VFS } from '#worker/snapshot/tree-snapshotter.ts'

/** All that happens to layers on a host, once: pulled, indexed or unpacked, mounted, made by a build, removed, pulled again. */

const DRIVERS = {
  erofs: (folder: string) => openOverlaySnapshotter(folder, report, erofsOverlay('file')),
  overlay: (folder: string) => openOverlaySnapshotter(folder, report, UNPACKED_OVERLAY),
  'fuse-overlayfs': (folder: string) => openOverlaySnapshotter(folder, report, FUSE_OVERLAY),
  btrfs: (folder: string) => openTreeSnapshotter(folder, BTRFS, report),
  vfs: (folder: string) => openTreeSnapshotter(folder, VFS, report),
}
export type DriverName = keyof typeof DRIVERS

/** What a removal that nobody waits for met. */
function report(error: unknown): void {
  console.error(error)
}

const BUILD = 'build-1'
/** The layer that the build makes. */
export const MADE = digestFromHex('d'.repeat(64))

/** One image of two layers, whose tars lie as files by their hex in `folder`. */
export function imageOf(folder: string, diffIds: readonly Digest[]): ResolvedImage {
  const layers = diffIds.map(digest => {
    const size = readFileSync(join(folder, digestHex(digest))).length
    return { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size }
  })
  const config = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers' as const, diff_ids: [...diffIds] } }
  const digest = digestFromHex(createHash('sha256').update(diffIds.join()).digest('hex'))
  const described = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 2 }
  return { digest, config, manifest: { schemaVersion: 2, config: described, layers } }
}

/** The image that lies in `tars`, on a host whose data are in `folder`. The bytes come as a registry would send them. */
export async function openLayerLife(driver: DriverName, folder: string, tars: string, diffIds: readonly Digest[]) {
  const snapshots = await DRIVERS[driver](folderOf(driver, folder))
  await snapshots.sweep()
  const image = imageOf(tars, diffIds)
  const images = await openImageStore({
    folder: join(folder, 'image-files'),
    api: {
      resolveImage: async () => image,
      download: async digest => createReadStream(join(tars, digestHex(digest))),
    },
    snapshots,
    now: Date.now,
    retryMs: 1,
  })
  return { snapshots, images, image }
}
export type LayerLife = Awaited<ReturnType<typeof openLayerLife>>

/** Safe to begin anew wherever it was broken off. */
export async function liveThrough({ snapshots, images, image }: LayerLife, diffIds: readonly Digest[]): Promise<void> {
  await snapshots.remove(BUILD) // As agents do at their start, of builds that are over.
  await images.pull('image')
  const { rootfs } = await snapshots.prepare(BUILD, diffIds)
  const made = join(rootfs, 'made')
  writeFileSync(made, 'made')
  utimesSync(made, 1, 1)
  await snapshots.unmount(BUILD)
  await snapshots.adoptUpper(BUILD, MADE)
  await snapshots.settled()
  await snapshots.prepare('container', [...diffIds, MADE])
  await snapshots.remove('container')
  await images.remove(image.digest)
  await snapshots.sweepLayers(new Set([MADE]), Date.now() + 60_000)
  await images.pull('image')
  await snapshots.settled()
}
