import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { join } from 'node:path'
import { ociArchitecture } from '#shared/domain/host.ts'
import { systemClock } from '#shared/ports/clock.ts'
import type { ControlPlane } from './agent/control-plane.ts'
import { requireRoom } from './execute/disk-room.ts'
import { containerResolvConf } from './execute/identity-files.ts'
import { createImageFetches } from './execute/image-fetches.ts'
import type { HostPorts } from './execute/ports.ts'
import { prepareCgroups } from './host/cgroup.ts'
import { maxOpenFiles } from './host/process.ts'
import { openImageStore } from './image/oci-image-store.ts'
import { bridgeDriver } from './network/bridge-driver.ts'
import type { ObservedPorts } from './observe/container-facts.ts'
import { openConmonRuntime } from './runtime/conmon-runtime.ts'
import { DEFAULT_PROFILE, readSeccompProfile } from './runtime/seccomp.ts'
import { erofsOverlay, probeErofs } from './snapshot/erofs-overlay.ts'
import { openOverlaySnapshotter, UNPACKED_OVERLAY } from './snapshot/overlay-snapshotter.ts'

export interface HostOptions {
  instance: string
  dataFolder: string
  runFolder: string
  runtime: 'crun' | 'runc'
  /** Told of what went wrong in the background and will be tried again. */
  onTrouble(error: unknown, what: string): void
}

/** Every adapter of this host. Called by main files alone. */
export async function openHost(options: HostOptions, api: ControlPlane): Promise<HostPorts & ObservedPorts> {
  const { instance, dataFolder, runFolder } = options
  const containersFolder = join(dataFolder, 'containers')
  for (const folder of [containersFolder, runFolder]) await mkdir(folder, { recursive: true, mode: 0o700 })
  await prepareCgroups(runFolder)
  const onTrashLeft = (error: unknown) =>
    options.onTrouble(error, 'a folder could not be removed; the next start tries again')
  const snapshotsFolder = join(dataFolder, 'overlay')
  const backing = await probeErofs(snapshotsFolder)
  const kind = backing ? erofsOverlay(backing) : UNPACKED_OVERLAY
  const snapshots = await openOverlaySnapshotter(snapshotsFolder, onTrashLeft, kind)
  await snapshots.sweep()
  const images = await openImageStore({ folder: join(dataFolder, 'images'), api, snapshots, now: systemClock.now })
  const room = () => requireRoom(dataFolder)
  return {
    requireRoom: room,
    runtime: await openConmonRuntime({ program: options.runtime, instance, runFolder, dataFolder }),
    snapshots,
    images,
    fetches: createImageFetches(images, systemClock, room),
    network: bridgeDriver({ instance, runFolder }),
    clock: systemClock,
    containersFolder,
    instance,
    architecture: ociArchitecture(arch()),
    seccomp: await readSeccompProfile(DEFAULT_PROFILE),
    maxOpenFiles: maxOpenFiles(),
    hasSnapshot: id => existsSync(join(dataFolder, 'overlay/snapshots', id)),
    readResolvConf: async () => {
      const read = (path: string) => readFile(path, 'utf8').catch(() => '')
      return containerResolvConf(await read('/etc/resolv.conf'), await read('/run/systemd/resolve/resolv.conf'))
    },
  }
}
