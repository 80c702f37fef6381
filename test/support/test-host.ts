import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { digestFromHex, digestOf } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { type ContainerId, newId } from '#shared/domain/ids.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import { httpControlPlane } from '#worker/agent/http-control-plane.ts'
import type { HostPorts } from '#worker/execute/ports.ts'
import { removeContainer } from '#worker/execute/remove-container.ts'
import { removeCgroups } from '#worker/host/cgroup.ts'
import { unmountBelow } from '#worker/host/mount.ts'
import { openHost } from '#worker/main.host.ts'
import { type ObservedPorts, observedIds } from '#worker/observe/container-facts.ts'

export interface TestHost extends AsyncDisposable {
  ports: HostPorts & ObservedPorts
  dataFolder: string
  /** A container of busybox with an address of its own. */
  want(command: readonly string[], change?: Partial<DesiredContainer>): DesiredContainer
}

/** The real ports of a host without any API: one image, busybox, is there. `third`: the /24's third number, one a test file. */
export async function openTestHost(
  instance: string,
  third: number,
  dataFolder?: string,
  storageDriver?: string,
): Promise<TestHost> {
  const folder = dataFolder ?? mkdtempSync(`/var/tmp/slipway-${instance}-`)
  const runFolder = `/run/slipway-${instance}`
  const gateway = `10.91.${third}.1`
  const ports = await openTestPorts(instance, folder, storageDriver)
  const imageDigest = await addBusybox(ports, folder)
  await ports.network.ensureHost({ subnet: `10.91.${third}.0/24`, gateway, prefixLength: 24 })
  let last = 1
  return {
    ports,
    dataFolder: folder,
    want: (command, change = {}) => ({
      ...{ id: newId<ContainerId>(bytes => crypto.getRandomValues(bytes)), name: 'c', generation: 1 },
      goal: { kind: 'running', run: 1 },
      endpoint: { address: `10.91.${third}.${++last}`, prefixLength: 24, gateway, mac: macOf(third, last) },
      spec: {
        ...{ image: 'busybox', imageDigest, command: [...command], env: [], labels: {}, ports: [] },
        ...{ restart: { kind: 'no' }, resources: {}, isReadOnly: false },
      },
      ...change,
    }),
    [Symbol.asyncDispose]: async () => {
      for (const id of await observedIds(ports)) await removeContainer(ports, id)
      await ports.network.removeHost()
      await removeCgroups(instance, runFolder)
      await unmountBelow(folder) // Of its layers.
      for (const path of [folder, runFolder]) rmSync(path, { recursive: true, force: true })
    },
  }
}

/** What an agent of this instance opens when it starts. */
export function openTestPorts(instance: string, dataFolder: string, storageDriver?: string) {
  const folders = { dataFolder, runFolder: `/run/slipway-${instance}` }
  return openHost(
    { instance, ...folders, runtime: 'crun', storageDriver, onTrouble: console.error },
    httpControlPlane('http://127.0.0.1:9', ''),
  )
}

const macOf = (...numbers: number[]) => `02:42:0a:5b:${numbers.map(n => n.toString(16).padStart(2, '0')).join(':')}`

async function addBusybox(ports: HostPorts, folder: string) {
  const tar = busyboxTar(folder)
  const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
  await ports.snapshots.addLayer(diffId, Readable.from([tar]), async () => {})
  const digest = await digestOf(diffId)
  const descriptor = { mediaType: MEDIA_TYPES.config, digest, size: 0 }
  await ports.images.add({
    digest,
    manifest: { schemaVersion: 2, config: descriptor, layers: [{ ...descriptor, mediaType: MEDIA_TYPES.layerGzip }] },
    config: { architecture: ports.architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId] } },
  })
  return digest
}

function busyboxTar(folder: string): Buffer {
  const rootfs = mkdtempSync(join(folder, 'rootfs-'))
  chmodSync(rootfs, 0o755) // Not only root may enter.
  for (const path of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp']) mkdirSync(join(rootfs, path))
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'))
  for (const applet of ['sh', 'sleep', 'true']) symlinkSync('busybox', join(rootfs, 'bin', applet))
  const tar = execFileSync('tar', ['-C', rootfs, '-c', '.'], { maxBuffer: 64 * 1024 * 1024 })
  rmSync(rootfs, { recursive: true })
  return tar
}
