import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  CONFIG_TYPE,
  descriptor,
  IMAGE_TYPE,
  INDEX_TYPE,
  LAYER_TYPE,
  pushImage,
  type RegistryClient,
  registryClient,
  sha256,
} from '../conformance/registry-client.ts'
import { bootControlPlane, type TestControlPlane } from './control-plane.ts'
import { bootDockerRegistry, type DockerRegistry } from './docker-registry.ts'
import { type UpstreamProxy, upstreamProxy } from './upstream-proxy.ts'

/** A control plane whose upstreams are a docker-registry behind a proxy, a mirror, a token server and one at its limit. */
export interface PullThrough extends AsyncDisposable {
  /** The registry itself as `docker.io` and, its tags never believed, as `fresh.example`. */
  proxy: UpstreamProxy
  /** `docker.io`'s mirror: it has nothing unless a test says so. */
  mirror: UpstreamProxy
  /** `limited.example`. */
  limited: UpstreamProxy
  /** The registry again as `token.example`, which asks for a token and is its own realm. */
  tokens: UpstreamProxy
  /** Ours. */
  client: RegistryClient
  folder: string
  password: string
  log(): string
  push(repository: string, tag: string, architecture?: string, layer?: Uint8Array<ArrayBuffer>): Promise<Pushed>
  pushIndex(repository: string, tag: string, images: readonly Platform[]): Promise<string>
  pushOwn(repository: string, tag: string): Promise<{ digest: string }>
  api(method: string, path: string, body?: object): Promise<Response>
  resolve: Asking['resolve']
  blob: Asking['blob']
  /** Another process over the same store. */
  second(): Promise<Asking & AsyncDisposable>
}

interface Platform {
  digest: string
  size: number
  architecture: string
}
interface Pushed {
  digest: string
  manifest: { config: { digest: string } }
  layer: string
}
/** What a host's agent asks. */
interface Asking {
  resolve(reference: string, architecture?: string): Promise<Resolved>
  blob(digest: string): Promise<{ status: number; bytes: Uint8Array; code: string | undefined }>
}
interface Resolved {
  status: number
  retryAfter: string | null
  body: { digest: string; config: { architecture: string }; code: string; detail: string }
}

export async function bootPullThrough(): Promise<PullThrough> {
  await using undo = new AsyncDisposableStack()
  const registry = undo.use(await bootDockerRegistry())
  const proxy = undo.use(await upstreamProxy(registry.url))
  const mirror = undo.use(await upstreamProxy(undefined))
  const limited = undo.use(await upstreamProxy(undefined))
  const tokens = undo.use(await tokenRegistry(registry))
  const { username, password } = registry
  const upstreams = [
    { registry: 'docker.io', endpoints: [mirror.url, proxy.url], username, password },
    { registry: 'fresh.example', endpoints: [proxy.url], username, password, tagTtl: 0 },
    { registry: 'token.example', endpoints: [tokens.url], username: 'somebody', password: 'something' },
    { registry: 'limited.example', endpoints: [limited.url] },
  ]
  const controlPlane = undo.use(await bootWith(upstreams))
  const { url, token, folder } = controlPlane
  const api = (method: string, path: string, body?: object) =>
    fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
    })
  const host = (await (await api('POST', '/v1/hosts', { name: 'tester' })).json()) as { token: string }
  const theirs = registryClient(registry.url, '', `Basic ${btoa(`${username}:${password}`)}`)
  const client = registryClient(url, token)
  const started = undo.move()
  return {
    ...{ proxy, mirror, limited, tokens, client, folder, password, api },
    ...asking(url, host.token),
    log: () => readFileSync(join(folder, 'log'), 'utf8'),
    push: (repository, tag, architecture = 'amd64', layer) => pushTo(theirs, repository, tag, architecture, layer),
    pushIndex: async (repository, tag, images) => {
      const manifests = images.map(({ digest, size, architecture }) => ({
        ...{ mediaType: IMAGE_TYPE, digest, size },
        platform: { os: 'linux', architecture },
      }))
      const index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests }
      await theirs.pushManifest(repository, tag, index, INDEX_TYPE)
      return sha256(JSON.stringify(index))
    },
    pushOwn: (repository, tag) => pushImage(client, repository, tag),
    second: async () => {
      const other = await bootWith(upstreams, {
        SLIPWAY_DATA: folder,
        SLIPWAY_TOKEN_FILE: join(folder, 'operator.token'),
      })
      return { ...asking(other.url, host.token), [Symbol.asyncDispose]: () => other[Symbol.asyncDispose]() }
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}

async function bootWith(upstreams: object, env: Record<string, string> = {}): Promise<TestControlPlane> {
  return bootControlPlane(env, folder => {
    const path = join(folder, 'upstreams.json')
    writeFileSync(path, JSON.stringify(upstreams), { mode: 0o600 })
    return { SLIPWAY_UPSTREAMS_FILE: path }
  })
}

/** The registry behind token authentication: the proxy checks the token, and asks the registry by its password. */
async function tokenRegistry({ url, username, password }: DockerRegistry): Promise<UpstreamProxy> {
  const proxy = await upstreamProxy(url, { authorization: `Basic ${btoa(`${username}:${password}`)}` })
  proxy.misbehave(({ path, authorization }, response) => {
    if (path.startsWith('/token'))
      return response.end(JSON.stringify({ token: 'sesame', expires_in: 300 })) !== undefined
    if (authorization === 'Bearer sesame') return false
    const [, repository] = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(path) ?? []
    const challenge = `Bearer realm="${proxy.url}/token",service="test",scope="repository:${repository}:pull"`
    return response.writeHead(401, { 'www-authenticate': challenge }).end() !== undefined
  })
  return proxy
}

async function pushTo(
  client: RegistryClient,
  repository: string,
  tag: string,
  architecture: string,
  layer: Uint8Array<ArrayBuffer> | undefined,
): Promise<Pushed> {
  const mark = crypto.randomUUID()
  const text = `layer of ${mark}`
  const rootfs = { type: 'layers', diff_ids: [] }
  const config = JSON.stringify({ architecture, os: 'linux', rootfs, mark })
  await client.pushBlob(repository, config)
  await client.pushBlob(repository, layer ?? text)
  const layers = [descriptor(LAYER_TYPE, layer ?? text)]
  const manifest = { schemaVersion: 2, mediaType: IMAGE_TYPE, config: descriptor(CONFIG_TYPE, config), layers }
  const answer = await client.pushManifest(repository, tag, manifest)
  if (answer.status !== 201) throw new Error(`PUT manifest: ${answer.status} ${await answer.text()}`)
  return { digest: sha256(JSON.stringify(manifest)), manifest, layer: text }
}

function asking(url: string, token: string): Asking {
  const headers = { authorization: `Bearer ${token}` }
  return {
    resolve: async (reference, architecture = 'amd64') => {
      const query = new URLSearchParams({ reference, architecture })
      const answer = await fetch(`${url}/v1/agent/images?${query}`, { headers })
      const body = (await answer.json()) as Resolved['body']
      return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body }
    },
    blob: async digest => {
      const answer = await fetch(`${url}/v1/agent/blobs/${digest}`, { headers, redirect: 'manual' })
      if (answer.status !== 307) {
        const { code } = (await answer.json()) as { code: string }
        return { status: answer.status, bytes: new Uint8Array(), code }
      }
      const signed = await fetch(answer.headers.get('location') ?? '')
      return { status: signed.status, bytes: new Uint8Array(await signed.arrayBuffer()), code: undefined }
    },
  }
}
