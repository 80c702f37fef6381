import { mkdir, readFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { join } from 'node:path'
import { ociArchitecture, type StorageFacts } from '#shared/domain/host.ts'
import { systemClock } from '#shared/ports/clock.ts'
import type { LayerSize } from '#shared/protocol/agent.ts'
import type { ControlPlane } from './agent/control-plane.ts'
import { requireReserve, requireRoom } from './execute/disk-room.ts'
import { type AllowedHere, defaultOomScore, hostAbilities } from './execute/host-abilities.ts'
import { containerResolvConf } from './execute/identity-files.ts'
import { createImageFetches } from './execute/image-fetches.ts'
import type { HostPorts } from './execute/ports.ts'
import { openSecretFiles } from './execute/secret-files.ts'
import { snapshotHolds } from './execute/snapshot-holds.ts'
import { readBootId } from './host/boot-id.ts'
import { prepareCgroups } from './host/cgroup.ts'
import { maxOpenFiles } from './host/process.ts'
import { programPath } from './host/run.ts'
import { openImageStore } from './image/oci-image-store.ts'
import { bridgeDriver } from './network/bridge-driver.ts'
import type { BuildReach } from './network/network-driver.ts'
import type { ObservedPorts } from './observe/container-facts.ts'
import { loadApparmorProfile } from './runtime/apparmor-profile.ts'
import { openConmonExec } from './runtime/conmon-exec.ts'
import { openConmonRuntime } from './runtime/conmon-runtime.ts'
import { INIT_PROGRAM } from './runtime/init-program.ts'
import { DEFAULT_PROFILE, readSeccompProfile } from './runtime/seccomp.ts'
import { openDrivers } from './snapshot/open-drivers.ts'
import { probeDrivers } from './snapshot/probe.ts'
import { mappingRefusal } from './snapshot/probe-mapping.ts'

export interface HostOptions {
  instance: string
  dataFolder: string
  runFolder: string
  runtime: 'crun' | 'runc'
  /** The storage driver to use whatever else could be; undefined: the best that works. */
  storageDriver?: string | undefined
  /** Where builds may go. */
  buildReach?: BuildReach
  /** What containers may have of this host besides. Left out: nothing. */
  allowed?: AllowedHere
  /** Told of what went wrong in the background and will be tried again. */
  onTrouble(error: unknown, what: string): void
  /** Told of each layer that was fetched. */
  onLayer?(size: LayerSize): void
}

/** Every adapter of this host. Called by main files alone. */
export async function openHost(
  options: HostOptions,
  api: ControlPlane,
): Promise<HostPorts & ObservedPorts & { storage: StorageFacts }> {
  const { instance, dataFolder, runFolder, onLayer = () => {} } = options
  const containersFolder = join(dataFolder, 'containers')
  for (const folder of [containersFolder, runFolder]) await mkdir(folder, { recursive: true, mode: 0o700 })
  await prepareCgroups(runFolder)
  const storage = await probeDrivers(dataFolder, options.storageDriver)
  const snapshots = await openDrivers(storage, dataFolder, error =>
    options.onTrouble(error, 'a folder could not be opened or removed; the next start tries again'),
  )
  await snapshots.sweep()
  const images = await openImageStore({
    folder: join(dataFolder, 'images'),
    api,
    snapshots,
    now: systemClock.now,
    onLayer,
  })
  const room = () => requireRoom(dataFolder)
  const allowed = options.allowed ?? { devices: [], isPrivilegedAllowed: true }
  const abilities = hostAbilities(instance, allowed, {
    usernsRefusal: await mappingRefusal(snapshots.name, dataFolder),
    apparmorProfile: await loadApparmorProfile().catch(error => {
      options.onTrouble(error, 'the AppArmor profile of containers could not be loaded: apt-get install apparmor')
      return undefined
    }),
  })
  return {
    requireRoom: room,
    requireReserve: () => requireReserve(dataFolder),
    runtime: await openConmonRuntime({ program: options.runtime, instance, runFolder, dataFolder }),
    execs: await openConmonExec({ program: options.runtime, runFolder }),
    execFolder: join(runFolder, 'exec'),
    snapshots,
    storage,
    holds: snapshotHolds(),
    images,
    fetches: createImageFetches(images, systemClock, room),
    network: bridgeDriver({ instance, runFolder, ...(options.buildReach ? { buildReach: options.buildReach } : {}) }),
    clock: systemClock,
    containersFolder,
    instance,
    architecture: ociArchitecture(arch()),
    seccomp: await readSeccompProfile(DEFAULT_PROFILE),
    maxOpenFiles: maxOpenFiles(),
    abilities,
    oomScoreAdj: defaultOomScore(abilities),
    secrets: openSecretFiles({ fetch: api.containerSecrets, folder: join(runFolder, 'secrets') }),
    bootId: await readBootId(),
    initProgram: await programPath(INIT_PROGRAM).catch(() => undefined),
    hasSnapshot: id => snapshots.has(id),
    readResolvConf: async () => {
      const read = (path: string) => readFile(path, 'utf8').catch(() => '')
      return containerResolvConf(await read('/etc/resolv.conf'), await read('/run/systemd/resolve/resolv.conf'))
    },
  }
}
