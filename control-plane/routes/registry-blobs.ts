import type { Context } from 'hono'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import { readRange } from '#shared/protocol/byte-range.ts'
import { SIGNED_URL_MS } from '../registry/blob-keys.ts'
import { removeBlob, requireBlob, sizeOfBlob } from '../registry/blobs.ts'
import { digestParameter } from '../registry/manifests.ts'
import { referrersOf } from '../registry/referrers.ts'
import { tagNames } from '../registry/repositories.ts'
import type { AppEnv } from './environment.ts'
import { linkTo, pageSize } from './registry-paging.ts'

/** end-2 of distribution-spec 1.1, without the bytes. */
export async function headBlob(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const digest = digestParameter(reference)
  const size = await sizeOfBlob(c.get('ports'), repository, digest)
  return c.body(null, 200, { ...headersOf(digest), 'content-length': String(size) })
}

/** The bytes: from the object store itself by a signed URL, or (a folder) through us, one range if asked. */
export async function getBlob(c: Context<AppEnv>, repository: Repository, reference: string): Promise<Response> {
  const { blobs } = c.get('ports')
  const { digest, size, objectKey } = await requireBlob(c.get('ports'), repository, digestParameter(reference))
  if (c.req.header('if-none-match') === `"${digest}"`) return c.body(null, 304)
  if (blobs.isDirect) {
    return c.body(null, 307, { ...headersOf(digest), location: await blobs.signDownload(objectKey, SIGNED_URL_MS) })
  }
  const range = readRange(c.req.header('range'), size)
  if (range === 'unsatisfiable') return c.body(null, 416, { 'content-range': `bytes */${size}` })
  const object = await blobs.get(objectKey, range)
  if (!object) throw new SlipwayError('blob.store-failed', `The store has lost blob ${digest}: push it again.`)
  return new Response(object.body, {
    status: range ? 206 : 200,
    headers: {
      ...headersOf(digest),
      'content-length': String(range ? range.end - range.start + 1 : size),
      ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${size}` } : {}),
    },
  })
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
