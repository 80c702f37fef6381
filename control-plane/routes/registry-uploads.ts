import type { Context } from 'hono'
import { digestOf } from '#shared/digest.ts'
import { allows, parseRepository, type Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import { mountBlob } from '../registry/blobs.ts'
import { digestParameter } from '../registry/manifests.ts'
import {
  appendToUpload,
  beginUpload,
  type ContentRange,
  cancelUpload,
  finishUpload,
  requireUpload,
} from '../registry/uploads.ts'
import type { UploadRow } from '../store/uploads.ts'
import type { AppEnv } from './environment.ts'
import { uploadProgress } from './registry-problems.ts'

/** POST: mounts a blob of another repository, takes one whole (`?digest=`), or begins an upload session. */
export async function start(c: Context<AppEnv>, repository: Repository): Promise<Response> {
  const ports = c.get('ports')
  const { mount, from, digest } = c.req.query()
  if (mount !== undefined && from !== undefined && (await mounted(c, repository, mount, from))) {
    return created(c, repository, mount)
  }
  const expected = digest === undefined ? undefined : digestParameter(digest)
  const upload = await beginUpload(ports, repository)
  if (expected === undefined || !(await hasBody(c, expected))) return accepted(c, repository, upload)
  try {
    await finishUpload(ports, repository, upload, expected, c.get('bodyOf')(), undefined)
  } catch (error) {
    await cancelUpload(ports, upload).catch(() => {}) // Nobody knows its name to go on with it.
    throw error
  }
  return created(c, repository, expected)
}

async function mounted(c: Context<AppEnv>, repository: Repository, mount: string, from: string): Promise<boolean> {
  const digest = digestParameter(mount)
  const source = parseRepository(from)
  return allows(c.get('principal').scopes, source, 'pull') && mountBlob(c.get('ports'), repository, digest, source)
}

/** A client that names a digest and sends nothing wants a session, unless nothing is what it names. */
async function hasBody(c: Context<AppEnv>, expected: string): Promise<boolean> {
  const isEmpty = (c.req.header('content-length') ?? '0') === '0' && c.req.header('transfer-encoding') === undefined
  return !isEmpty || expected === (await digestOf(''))
}

export async function status(c: Context<AppEnv>, repository: Repository, id: string): Promise<Response> {
  return progress(c, repository, await requireUpload(c.get('ports'), repository, id), 204)
}

/** PATCH: the next bytes; with `Content-Range` they must be just the next, without it they are. */
export async function chunk(c: Context<AppEnv>, repository: Repository, id: string): Promise<Response> {
  const upload = await requireUpload(c.get('ports'), repository, id)
  return accepted(c, repository, await appendToUpload(c.get('ports'), upload, c.get('bodyOf')(), contentRange(c)))
}

/** PUT: the last bytes, if any, and the digest of all. */
export async function finish(c: Context<AppEnv>, repository: Repository, id: string): Promise<Response> {
  const upload = await requireUpload(c.get('ports'), repository, id)
  const expected = digestParameter(c.req.query('digest') ?? '')
  await finishUpload(c.get('ports'), repository, upload, expected, c.get('bodyOf')(), contentRange(c))
  return created(c, repository, expected)
}

export async function cancel(c: Context<AppEnv>, repository: Repository, id: string): Promise<Response> {
  await cancelUpload(c.get('ports'), await requireUpload(c.get('ports'), repository, id))
  return c.body(null, 204)
}

function contentRange(c: Context<AppEnv>): ContentRange | undefined {
  const header = c.req.header('content-range')
  if (header === undefined) return undefined
  const [, start, end] = /^(?:bytes )?(\d+)-(\d+)(?:\/.*)?$/.exec(header) ?? []
  if (start === undefined || end === undefined || Number(end) < Number(start)) {
    throw new SlipwayError('request.invalid', 'Content-Range must be START-END, both inclusive.')
  }
  refuseOtherLength(c.req.header('content-length'), Number(end) - Number(start) + 1)
  return { start: Number(start), end: Number(end) }
}

/** Headers that contradict each other: refused before any byte is taken. A PUT may have none to send. */
function refuseOtherLength(announced: string | undefined, ranged: number): void {
  if (announced === undefined || announced === '0' || Number(announced) === ranged) return
  const message = `Content-Range has ${ranged} bytes and Content-Length ${announced}: nothing was taken.`
  throw new SlipwayError('request.invalid', message)
}

function created(c: Context<AppEnv>, repository: Repository, digest: string): Response {
  return c.body(null, 201, { location: `/v2/${repository}/blobs/${digest}`, 'docker-content-digest': digest })
}

const accepted = (c: Context<AppEnv>, repository: Repository, upload: UploadRow) => progress(c, repository, upload, 202)

function progress(c: Context<AppEnv>, repository: Repository, { id, size }: UploadRow, code: 202 | 204): Response {
  return c.body(null, code, uploadProgress(`/v2/${repository}/blobs/uploads/${id}`, size))
}
