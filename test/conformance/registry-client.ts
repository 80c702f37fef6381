import { createHash, randomBytes } from 'node:crypto'

/** The Distribution API as a client without cleverness sees it: one request a call, no redirects followed. */
export interface RegistryClient {
  readonly url: string
  send(method: string, path: string, options?: SendOptions): Promise<Response>
  /** Begins an upload and returns where it goes on, as an absolute URL. */
  begin(repository: string): Promise<string>
  /** POST then PUT of a whole blob; returns its digest. */
  pushBlob(repository: string, bytes: Uint8Array | string): Promise<string>
  pushManifest(repository: string, reference: string, manifest: object, type?: string): Promise<Response>
}

export interface SendOptions {
  body?: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>
  headers?: Record<string, string>
  /** Undefined: the client's own; null: none. */
  authorization?: string | null
}

export const IMAGE_TYPE = 'application/vnd.oci.image.manifest.v1+json'
export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
export const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
export const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip'
export const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'

export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export function someBytes(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(randomBytes(size))
}

export function descriptor(mediaType: string, bytes: Uint8Array | string) {
  return { mediaType, digest: sha256(bytes), size: Buffer.byteLength(bytes) }
}

export function registryClient(url: string, token: string, own = `Bearer ${token}`): RegistryClient {
  const client: RegistryClient = {
    url,
    send: (method, path, { body, headers = {}, authorization = own } = {}) =>
      fetch(new URL(path, url), {
        method,
        redirect: 'manual',
        headers: { ...headers, ...(authorization === null ? {} : { authorization }) },
        ...(body === undefined ? {} : { body }),
        ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
      }),
    begin: async repository => {
      const begun = await client.send('POST', `/v2/${repository}/blobs/uploads/`)
      if (begun.status !== 202) throw new Error(`POST uploads: ${begun.status} ${await begun.text()}`)
      return new URL(begun.headers.get('location') ?? '', url).href
    },
    pushBlob: async (repository, bytes) => {
      const digest = sha256(bytes)
      const location = new URL(await client.begin(repository))
      location.searchParams.set('digest', digest)
      const body = typeof bytes === 'string' ? bytes : new Uint8Array(bytes)
      const done = await client.send('PUT', location.href, { body })
      if (done.status !== 201) throw new Error(`PUT upload: ${done.status} ${await done.text()}`)
      return digest
    },
    pushManifest: (repository, reference, manifest, type = IMAGE_TYPE) =>
      client.send('PUT', `/v2/${repository}/manifests/${reference}`, {
        body: JSON.stringify(manifest),
        headers: { 'content-type': type },
      }),
  }
  return client
}

/** An image of one layer whose blobs are pushed; `mark` makes its digest one of its own. */
export async function pushImage(
  client: RegistryClient,
  repository: string,
  tag: string,
  mark: string = crypto.randomUUID(),
) {
  const config = JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] }, mark })
  const layer = `layer of ${mark}`
  await client.pushBlob(repository, config)
  await client.pushBlob(repository, layer)
  const manifest = {
    schemaVersion: 2,
    mediaType: IMAGE_TYPE,
    config: descriptor(CONFIG_TYPE, config),
    layers: [descriptor(LAYER_TYPE, layer)],
  }
  const answer = await client.pushManifest(repository, tag, manifest)
  if (answer.status !== 201) throw new Error(`PUT manifest: ${answer.status} ${await answer.text()}`)
  return { manifest, digest: sha256(JSON.stringify(manifest)), config, layer }
}

/** What the suites share: repositories of their own, a client, and how to read its answers. */
export function suite(get: () => { url: string; token: string }, name: string) {
  const run = `${name}/${Date.now().toString(36)}`
  return {
    repository: (last: string) => `${run}/${last}`,
    open: (): RegistryClient => registryClient(get().url, get().token),
    codeOf: async (response: Response) =>
      ((await response.json()) as { errors: { code: string; message: string }[] }).errors[0]?.code,
    /** A blob's bytes, from wherever the registry sends its clients. */
    follow: async (response: Response) =>
      response.status === 307 ? fetch(response.headers.get('location') ?? '') : response,
  }
}
