import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildContext } from '#infra/local/builds.ts'
import {
  CONFIG_TYPE,
  descriptor,
  IMAGE_TYPE,
  LAYER_TYPE,
  type RegistryClient,
  registryClient,
  sha256,
} from '#test/conformance/registry-client.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { startDocker } from '#test/support/docker-peer.ts'
import { bootDockerRegistry, type DockerRegistry } from '#test/support/docker-registry.ts'
import { bootForTest, type TestSlipway } from '#test/support/slipway.ts'
import { type UpstreamProxy, upstreamProxy } from '#test/support/upstream-proxy.ts'

/** An image that only an upstream has: built upon, run, and pulled by Debian's own clients, also once that one is down. */

const execute = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'slipway-pull-'))
const project = join(import.meta.dirname, '../..')
const before = process.env.SLIPWAY_UPSTREAMS_FILE
let registry: DockerRegistry
let proxy: UpstreamProxy
let slipway: TestSlipway
let host: string
let login: string

beforeAll(async () => {
  registry = await bootDockerRegistry()
  proxy = await upstreamProxy(registry.url)
  const { url, username, password } = registry
  const file = join(folder, 'upstreams.json')
  const upstreams = [{ registry: 'docker.io', endpoints: [proxy.url], username, password }]
  writeFileSync(file, JSON.stringify(upstreams), { mode: 0o600 })
  process.env.SLIPWAY_UPSTREAMS_FILE = file
  await pushBusybox(registryClient(url, '', `Basic ${btoa(`${username}:${password}`)}`))
  slipway = await bootForTest('e2epull')
  host = `127.0.0.1:${slipway.layout.apiPort}`
  login = `me:${slipway.operatorToken}`
})
afterAll(async () => {
  process.env.SLIPWAY_UPSTREAMS_FILE = before
  const left = await slipway?.remove()
  await proxy?.[Symbol.asyncDispose]()
  await registry?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
  expect(left).toEqual([])
})

async function pushBusybox(client: RegistryClient): Promise<void> {
  const tar = join(folder, 'rootfs.tar.gz')
  await execute('sh', [join(project, 'infra/local/busybox-base.sh'), tar])
  const layer = readFileSync(tar)
  const config = JSON.stringify({
    ...{ architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' },
    config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: [sha256(gunzipSync(layer))] },
  })
  for (const bytes of [config, layer]) await client.pushBlob('library/box', bytes)
  const layers = [descriptor(LAYER_TYPE, layer)]
  const manifest = { schemaVersion: 2, mediaType: IMAGE_TYPE, config: descriptor(CONFIG_TYPE, config), layers }
  expect((await client.pushManifest('library/box', '1', manifest)).status).toBe(201)
}

test('a Dockerfile builds on it by its short name', async () => {
  const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM box:1\nRUN echo made > /made\n' })
  let log = ''
  await buildContext(slipway.api, { context, tags: ['on-box:1'] }, text => (log += text))
  expect(log).toContain('FROM box:1')
})

test('a build may not take a name of the upstream', async () => {
  const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM box:1\n' })
  const built = buildContext(slipway.api, { context, tags: ['docker.io/library/mine:1'] }, () => {})
  await expect(built).rejects.toThrow(/upstream\.read-only/)
})

test('a container runs it by its whole name', async () => {
  const wanted = { image: 'docker.io/library/box:1', name: 'boxed', command: ['sleep', '300'] }
  const made = await slipway.api.call<{ state: string }>('POST', '/v1/containers?wait=running', wanted)
  expect(made.state).toBe('running')
})

test('skopeo, podman and containerd pull it, the upstream being down', async () => {
  await proxy.stop()
  const asked = proxy.seen.length
  const from = ['--src-tls-verify=false', '--src-creds', login]
  await execute('skopeo', ['copy', ...from, `docker://${host}/docker.io/library/box:1`, `dir:${folder}/box`])
  await pullByPodman()
  await pullByContainerd()
  expect(proxy.seen).toHaveLength(asked)
})

/** `docker.io/library/box:1`, from the mirror that its configuration names. */
async function pullByPodman(): Promise<void> {
  const mirror = `[[registry.mirror]]\nlocation = "${host}/docker.io"\ninsecure = true\n`
  writeFileSync(join(folder, 'registries.conf'), `[[registry]]\nlocation = "docker.io"\n${mirror}`)
  const auth = Buffer.from(login).toString('base64')
  writeFileSync(join(folder, 'auth.json'), JSON.stringify({ auths: { [host]: { auth } } }))
  const env = {
    ...process.env,
    CONTAINERS_REGISTRIES_CONF: join(folder, 'registries.conf'),
    REGISTRY_AUTH_FILE: join(folder, 'auth.json'),
  }
  const store = ['--root', join(folder, 'podman'), '--runroot', join(folder, 'podman-run'), '--storage-driver=vfs']
  await execute('podman', [...store, 'pull', 'docker.io/library/box:1'], { env, timeout: 60_000 })
}

/** By `ns`, as containerd asks a mirror. */
async function pullByContainerd(): Promise<void> {
  await using docker = await startDocker('none')
  mkdirSync(join(folder, 'hosts/docker.io'), { recursive: true })
  const hosts = `server = "http://127.0.0.1:1"\n[host."http://${host}"]\n  capabilities = ["pull", "resolve"]\n`
  writeFileSync(join(folder, 'hosts/docker.io/hosts.toml'), hosts)
  const args = ['images', 'pull', '--hosts-dir', join(folder, 'hosts'), '--user', login, 'docker.io/library/box:1']
  await execute('ctr', ['--address', docker.containerdSocket, ...args], { timeout: 60_000 })
}
