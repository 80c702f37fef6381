import type { Context } from 'hono'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import { MANIFEST_LIMIT, manifestBody, pushManifest, removeManifest, requireManifest } from '../registry/manifests.ts'
import type { AppEnv } from './environment.ts'

/** GET and HEAD: a manifest's exact bytes under the media type it was pushed with, whatever the client would accept. */
export async function getManifest(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const row = await requireManifest(c.get('ports'), repository, reference)
  const headers = {
    'content-type': row.mediaType,
    'content-length': String(row.size),
    'docker-content-digest': row.digest,
    etag: `"${row.digest}"`,
  }
  if (c.req.header('if-none-match')?.includes(row.digest)) return c.body(null, 304)
  if (c.req.method === 'HEAD') return c.body(null, 200, headers)
  return c.body(await manifestBody(c.get('ports'), row), 200, headers)
}

export async function putManifest(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const bytes = await readBounded(c.get('bodyOf')())
  const type = c.req.header('content-type')
  const { digest, subject } = await pushManifest(c.get('ports'), repository, reference, type, bytes)
  if (subject) c.header('OCI-Subject', subject)
  c.header('Docker-Content-Digest', digest)
  c.header('Location', `/v2/${repository}/manifests/${digest}`)
  return c.body(null, 201)
}

export async function deleteManifest(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  await removeManifest(c.get('ports'), repository, reference)
  return c.body(null, 202)
}

async function readBounded(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body ?? []) {
    size += chunk.length
    if (size > MANIFEST_LIMIT) {
      throw new SlipwayError('manifest.too-large', `A manifest has at most ${MANIFEST_LIMIT} bytes here.`)
    }
    chunks.push(chunk)
  }
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}
