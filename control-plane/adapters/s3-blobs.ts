import { randomUUID } from 'node:crypto'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { BlobInfo, BlobStore, ByteRange, SignedPart, UploadTerms } from '#shared/ports/blob-store.ts'
import { type S3Calls, type S3Options, s3Calls, statusOf } from './s3-calls.ts'
import { s3PartStore } from './s3-part-store.ts'
import { putIfAbsent } from './s3-put-if-absent.ts'
import { PARTS_PREFIX, s3Writer } from './s3-writer.ts'

const PAGE = 1000

/**
 * Blobs in S3, R2 or what speaks their API. Objects appear whole, as S3 promises. What the store itself refuses of a
 * signed upload, when it was told:
 *
 * - another size: all do, for the length is signed;
 * - other bytes than of `sha256`: S3, as it documents it (`x-amz-checksum-sha256`, signed as a header that must come along).
 *   wrangler's local R2 and radosgw 16 want the header, do not compare it with the bytes, and tell `head` no digest. R2 lists
 *   the header among what it knows; that was not tried.
 *
 * What the API sends itself carries the SHA-256 of its bytes in the signature, which S3 and radosgw check. `put` and
 * `openWriter` check no digest of a whole object. What uploads leave that are never ended: see README.md.
 */
export function s3Blobs(options: S3Options): BlobStore {
  const { bucket: Bucket } = options
  const calls = s3Calls(options)
  const { client, run, find } = calls
  const parts = s3PartStore(calls, Bucket)
  const head = async (Key: string): Promise<BlobInfo | undefined> => {
    const command = new HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' })
    const found = await find(terms => client.send(command, terms))
    return found && { size: found.ContentLength ?? 0, ...digestOf(found.ChecksumSHA256) }
  }
  return {
    isDirect: true,
    head,
    get: async (Key, range) => {
      const found = await get(calls, Bucket, Key, range)
      return found === 'beyond' ? withoutBytes(await head(Key)) : found
    },
    put: async (Key, Body, { ifAbsent = false } = {}) => {
      if (ifAbsent) return putIfAbsent(calls, { Bucket, Key, Body })
      await run(terms => client.send(new PutObjectCommand({ Bucket, Key, Body }), terms))
      return true
    },
    delete: async Key => void (await find(terms => client.send(new DeleteObjectCommand({ Bucket, Key }), terms))),
    list: async (Prefix, cursor) => {
      const command = new ListObjectsV2Command({ Bucket, Prefix, StartAfter: cursor, MaxKeys: PAGE })
      const { Contents = [], IsTruncated } = await run(terms => client.send(command, terms))
      const keys = Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key]))
      return { keys: keys.filter(key => !key.startsWith(PARTS_PREFIX)), cursor: IsTruncated ? keys.at(-1) : undefined }
    },
    signUpload: (key, terms) => run(() => signUpload(calls, Bucket, key, terms)),
    signDownload: (Key, expiresMs) =>
      run(() => getSignedUrl(client, new GetObjectCommand({ Bucket, Key }), { expiresIn: seconds(expiresMs) })),
    openWriter: async (key, state) => s3Writer(parts, key, { state, name: randomUUID }),
    parts: {
      begin: parts.begin,
      sign: (key, id, part) => run(() => signPart(calls, Bucket, key, id, part)),
      join: parts.join,
      drop: parts.drop,
    },
  }
}

async function get({ client, find, watched }: S3Calls, Bucket: string, Key: string, range?: ByteRange) {
  const Range = range && `bytes=${range.start}-${range.end}`
  const command = new GetObjectCommand({ Bucket, Key, Range })
  const found = await find(terms => client.send(command, terms).catch(beyondIf416))
  if (found === 'beyond') return found
  if (!found?.Body) return undefined
  // `bytes 0-9/100`: the size of the whole, which a range's own length does not tell.
  const whole = found.ContentRange?.split('/')[1]
  const length = found.ContentLength ?? 0
  return { info: { size: Number(whole ?? length) }, body: watched(found.Body.transformToWebStream(), length) }
}

/** A range that begins behind the object's end, which S3 makes an error. */
function beyondIf416(error: unknown): 'beyond' {
  if (statusOf(error) !== 416) throw error
  return 'beyond'
}

function withoutBytes(info: BlobInfo | undefined) {
  return info && { info: { size: info.size }, body: new Blob([]).stream() as ReadableStream<Uint8Array> }
}

async function signUpload({ client }: S3Calls, Bucket: string, Key: string, { size, sha256, expiresMs }: UploadTerms) {
  const checksum = sha256 === undefined ? undefined : Buffer.from(sha256, 'hex').toString('base64')
  const command = new PutObjectCommand({
    ...{ Bucket, Key },
    ...(size === undefined ? {} : { ContentLength: size }),
    ...(checksum === undefined ? {} : { ChecksumSHA256: checksum }),
  })
  const url = await getSignedUrl(client, command, {
    expiresIn: seconds(expiresMs),
    // As part of the URL's query S3 would not look at it; as a signed header it must come, and be this.
    unhoistableHeaders: new Set([CHECKSUM]),
    // The uploader sends its length by itself; signed, it can be no other.
    ...(size === undefined ? {} : { signableHeaders: new Set(['host', 'content-length', CHECKSUM]) }),
  })
  return { url, headers: checksum === undefined ? {} : { [CHECKSUM]: checksum } }
}

async function signPart({ client }: S3Calls, Bucket: string, Key: string, UploadId: string, part: SignedPart) {
  const { number: PartNumber, size: ContentLength } = part
  const command = new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, ContentLength })
  const signableHeaders = new Set(['host', 'content-length'])
  return {
    url: await getSignedUrl(client, command, { expiresIn: seconds(part.expiresMs), signableHeaders }),
    headers: {},
  }
}

const CHECKSUM = 'x-amz-checksum-sha256'
const seconds = (ms: number) => Math.ceil(ms / 1000)

/** As hex. `<digest>-<parts>` is a digest of digests, which says nothing of the whole. */
function digestOf(checksum: string | undefined): { sha256?: string } {
  if (checksum === undefined || checksum.includes('-')) return {}
  return { sha256: Buffer.from(checksum, 'base64').toString('hex') }
}
