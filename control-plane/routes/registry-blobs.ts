import type { Context } from 'hono'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ByteRange } from '#shared/ports/blob-store.ts'
import { readRange } from '#shared/protocol/byte-range.ts'
import type { Ports } from '../ports.ts'
import { SIGNED_URL_MS } from '../registry/blob-keys.ts'
import { awaitBlob, openBlob, removeBlob, sizeOfBlob } from '../registry/blobs.ts'
import { digestParameter } from '../registry/manifests.ts'
import { referrersOf } from '../registry/referrers.ts'
import { tagNames } from '../registry/repositories.ts'
import type { BlobRow } from '../store/blobs.ts'
import type { AppEnv } from './environment.ts'
import { linkTo, pageSize } from './registry-paging.ts'

/** end-2 of distribution-spec 1.1, without the bytes. */
export async function headBlob(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const digest = digestParameter(reference)
  const size = await sizeOfBlob(c.get('ports'), repository, digest)
  return c.body(null, 200, { ...headersOf(digest), 'content-length': String(size) })
}

/**
 * The bytes: from the object store itself by a signed URL, or through us, one range if asked. Those of an upstream that
 * are long on their way follow their headers late.
 */
export async function getBlob(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const ports = c.get('ports')
  const digest = digestParameter(reference)
  const { size, here, whole } = await awaitBlob(ports, repository, digest)
  if (c.req.header('if-none-match') === `"${digest}"`) return c.body(null, 304)
  const location = here && ports.blobs.isDirect && (await ports.blobs.signDownload(here.objectKey, SIGNED_URL_MS))
  if (location && !takesTokenAlong(c.req.url, location)) return c.body(null, 307, { ...headersOf(digest), location })
  const range = readRange(c.req.header('range'), size)
  if (range === 'unsatisfiable') return c.body(null, 416, { 'content-range': `bytes */${size}` })
  const body = here ? await openBlob(ports, here, range) : lateBody(ports, whole, size, range)
  return new Response(body, {
    status: range ? 206 : 200,
    headers: {
      ...headersOf(digest),
      'content-length': String(range ? range.end - range.start + 1 : size),
      ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${size}` } : {}),
    },
  })
}

/**
 * Clients in Go send their token to whatever host has the registry's name, or one below it, at any port, when they follow
 * a redirect (net/http, `Client`): a store there would get to know it, and S3 refuses a request that is signed twice.
 */
export function takesTokenAlong(asked: string, location: string): boolean {
  const from = new URL(asked).hostname
  const to = new URL(location).hostname
  return to === from || to.endsWith(`.${from}`)
}

/** Breaks off when the blob cannot be had: its client asks again, and is told why. */
function lateBody(ports: Ports, whole: Promise<BlobRow>, size: number, range: ByteRange | undefined) {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const follow = async () => {
    const blob = await whole
    if (blob.size !== size) throw new SlipwayError('blob.size-mismatch', `Blob ${blob.digest} has ${blob.size} bytes.`)
    await (await openBlob(ports, blob, range)).pipeTo(writable)
  }
  follow().catch(error => writable.abort(error).catch(() => {})) // The client is gone already.
  return readable
}

const headersOf = (digest: string) => ({
  'content-type': 'application/octet-stream',
  'docker-content-digest': digest,
  'docker-distribution-api-version': 'registry/2.0',
  'accept-ranges': 'bytes',
  etag: `"${digest}"`,
})

export async function removeBlobOf(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  await removeBlob(c.get('ports'), repository, digestParameter(reference))
  return c.body(null, 202)
}

export async function listTagsOf(c: Context<AppEnv>, repository: Repository): Promise<Response> {
  const limit = pageSize(c.req.query('n'))
  const { names, next } = await tagNames(c.get('ports'), repository, c.req.query('last') ?? '', limit)
  if (next !== undefined) c.header('Link', linkTo(`/v2/${repository}/tags/list`, { n: String(limit), last: next }))
  return c.json({ name: repository, tags: names })
}

export async function getReferrers(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const subject = digestParameter(reference)
  const artifactType = c.req.query('artifactType')
  const { index, next } = await referrersOf(
    c.get('ports'),
    repository,
    subject,
    artifactType,
    c.req.query('last') ?? '',
  )
  if (artifactType !== undefined) c.header('OCI-Filters-Applied', 'artifactType')
  if (next !== undefined) {
    const filter: Record<string, string> = artifactType === undefined ? {} : { artifactType }
    c.header('Link', linkTo(`/v2/${repository}/referrers/${subject}`, { last: next, ...filter }))
  }
  return c.body(JSON.stringify(index), 200, { 'content-type': index.mediaType })
}
