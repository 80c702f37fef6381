import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import {
  CONFIG_TYPE,
  descriptor,
  IMAGE_TYPE,
  LAYER_TYPE,
  type RegistryClient,
  registryClient,
  sha256,
} from '#test/conformance/registry-client.ts'
import { bootDockerRegistry } from './docker-registry.ts'
import { type UpstreamProxy, upstreamProxy } from './upstream-proxy.ts'

const execute = promisify(execFile)
const project = join(import.meta.dirname, '../..')

/** Docker's registry with `library/box:1`, a busybox, behind a proxy: an image that only an upstream has. */
export interface BoxUpstream extends AsyncDisposable {
  proxy: UpstreamProxy
  /** The one layer of `library/box:1`. */
  layer: Uint8Array
  /** The configuration that makes it the upstream of this name (docs/registry.md), as JSON. */
  configuredAs(registry: string): string
}

export async function bootBoxUpstream(): Promise<BoxUpstream> {
  await using undo = new AsyncDisposableStack()
  const { url, username, password } = undo.use(await bootDockerRegistry())
  const proxy = undo.use(await upstreamProxy(url))
  const layer = await busyboxLayer()
  await pushBox(layer, registryClient(url, '', `Basic ${btoa(`${username}:${password}`)}`))
  const started = undo.move()
  return {
    ...{ proxy, layer },
    configuredAs: registry => JSON.stringify([{ registry, endpoints: [proxy.url], username, password }]),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}

async function pushBox(layer: Buffer, client: RegistryClient): Promise<void> {
  const config = JSON.stringify({
    ...{ architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' },
    config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: [sha256(gunzipSync(layer))] },
  })
  for (const bytes of [config, layer]) await client.pushBlob('library/box', bytes)
  const layers = [descriptor(LAYER_TYPE, layer)]
  const manifest = { schemaVersion: 2, mediaType: IMAGE_TYPE, config: descriptor(CONFIG_TYPE, config), layers }
  const answer = await client.pushManifest('library/box', '1', manifest)
  if (answer.status !== 201) throw new Error(`PUT manifest: ${answer.status} ${await answer.text()}`)
}

async function busyboxLayer(): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-box-'))
  try {
    await execute('sh', [join(project, 'infra/local/busybox-base.sh'), join(folder, 'rootfs.tar.gz')])
    return readFileSync(join(folder, 'rootfs.tar.gz'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
