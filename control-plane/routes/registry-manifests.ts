import type { Context } from 'hono'
import { isDigest } from '#shared/digest.ts'
import { isTag, type Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import { readBounded } from '#shared/read-bounded.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { MANIFEST_LIMIT, manifestBody, pushManifest, removeManifest, requireManifest } from '../registry/manifests.ts'
import { pullManifest } from '../registry/pull-manifest.ts'
import { sourceOf } from '../registry/upstream-names.ts'
import type { ManifestRow } from '../store/manifests.ts'
import type { AppEnv } from './environment.ts'

/** A repository that is pulled through has what its upstream has. */
function manifestFor(c: Context<AppEnv>, repository: Repository, reference: string): Promise<ManifestRow> {
  const ports = c.get('ports')
  const source = sourceOf(ports, repository)
  const isAskable = isTag(reference) || isDigest(reference)
  return source && isAskable ? pullManifest(ports, source, reference) : requireManifest(ports, repository, reference)
}

/** GET and HEAD: a manifest's exact bytes under the media type it was pushed with, whatever the client would accept. */
export async function getManifest(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const row = await manifestFor(c, repository, reference)
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
  const bytes = await manifestOf(c.get('bodyOf')())
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

async function manifestOf(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readBounded(body, MANIFEST_LIMIT)
  if (bytes) return bytes
  throw new SlipwayError('manifest.too-large', `A manifest has at most ${sizeInWords(MANIFEST_LIMIT)} here.`)
}
