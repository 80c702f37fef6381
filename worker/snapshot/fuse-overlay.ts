import { mountFuseOverlay } from '#worker/host/mount-fuse-overlay.ts'
import { noMapping } from './no-mapping.ts'
import { type OverlayKind, UNPACKED_OVERLAY } from './overlay-snapshotter.ts'
import { removeMarkFiles } from './private-marks.ts'

/** Overlay in a process of its own, for kernels without it. It marks opaque folders by files, too, which no layer holds. */
export const FUSE_OVERLAY: OverlayKind = {
  ...UNPACKED_OVERLAY,
  name: 'fuse-overlayfs',
  mount: async overlay => {
    if (overlay.usernsFd !== undefined) throw noMapping('fuse-overlayfs')
    await mountFuseOverlay(overlay)
  },
  tidyUpper: removeMarkFiles,
}
