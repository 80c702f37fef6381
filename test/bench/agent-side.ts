import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { digestFromHex, digestOf } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { newId } from '#shared/domain/ids.ts'
import { MEDIA_TYPES } from '#shared/domain/image.ts'
import { httpControlPlane } from '#worker/agent/http-control-plane.ts'
import type { HostPorts } from '#worker/execute/ports.ts'
import { removeContainer } from '#worker/execute/remove-container.ts'
import { runContainer } from '#worker/execute/run-container.ts'
import { removeCgroups } from '#worker/host/cgroup.ts'
import { openHost } from '#worker/main.host.ts'

const INSTANCE = 'benchag'
const NETWORK = { subnet: '10.85.0.0/24', gateway: '10.85.0.1', prefixLength: 24 }

export interface AgentSide extends AsyncDisposable {
  /** Begins a container as the agent does once it knows of it; returns its id when the process runs. */
  start(): Promise<string>
  remove(id: string): Promise<void>
}

/** The agent's own work alone: no API, no bus, no reconciling; the image is local. */
export async function openAgentSide(rootfsTarGz: string): Promise<AgentSide> {
  const folder = await mkdtemp('/var/tmp/slipway-benchag-')
  const runFolder = `/run/slipway-${INSTANCE}`
  const own = { instance: INSTANCE, dataFolder: folder, runFolder, runtime: 'crun' } as const
  const host = await openHost({ ...own, onTrouble: console.error }, httpControlPlane('http://127.0.0.1:9', ''))
  const imageDigest = await addImage(host, rootfsTarGz)
  await host.network.ensureHost(NETWORK)
  return {
    start: async () => {
      const want = wanted(imageDigest)
      await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host)
      return want.id
    },
    remove: id => removeContainer(host, id),
    [Symbol.asyncDispose]: async () => {
      await host.network.removeHost()
      await removeCgroups(INSTANCE, runFolder)
      for (const path of [folder, runFolder]) await rm(path, { recursive: true, force: true })
    },
  }
}

async function addImage(host: HostPorts, rootfsTarGz: string): Promise<DesiredContainer['spec']['imageDigest']> {
  const hash = createHash('sha256')
  for await (const chunk of tarOf(rootfsTarGz)) hash.update(chunk)
  const diffId = digestFromHex(hash.digest('hex'))
  await host.snapshots.addLayer(diffId, Readable.from(tarOf(rootfsTarGz), { objectMode: false }), async () => {})
  const digest = await digestOf(diffId)
  const descriptor = { mediaType: MEDIA_TYPES.config, digest, size: 0 }
  await host.images.add({
    digest,
    manifest: { schemaVersion: 2, config: descriptor, layers: [{ ...descriptor, mediaType: MEDIA_TYPES.layerGzip }] },
    config: { architecture: host.architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId] } },
  })
  return digest
}

const tarOf = (path: string) => createReadStream(path).pipe(createGunzip())

function wanted(imageDigest: DesiredContainer['spec']['imageDigest']): DesiredContainer {
  return {
    id: newId(bytes => crypto.getRandomValues(bytes)),
    name: 'bench',
    generation: 1,
    goal: { kind: 'running', run: 1 },
    endpoint: { address: '10.85.0.2', prefixLength: 24, gateway: NETWORK.gateway, mac: '02:42:0a:55:00:02' },
    spec: {
      ...{ image: 'busybox', imageDigest, command: ['sleep', '1000'], env: [], labels: {}, ports: [] },
      ...{ restart: { kind: 'no' }, resources: {}, isReadOnly: false },
    },
  }
}
