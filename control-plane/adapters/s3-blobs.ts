import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobStore } from '#shared/ports/blob-store.ts'

export interface S3Options {
  /** `https://<account>.r2.cloudflarestorage.com`, `https://s3.eu-central-1.amazonaws.com`, … */
  endpoint: string
  region: string
  bucket: string
  accessKeyId: string
  secretAccessKey: string
}

const PAGE = 1000
const ATTEMPTS = 3

/**
 * Blobs in S3, R2 or what speaks their API. Objects appear whole, as S3 promises. A signed upload is bound to its size
 * where that is known; the digest is checked by whoever reads, since not every store checks it.
 */
export function s3Blobs(options: S3Options): BlobStore {
  const { bucket: Bucket } = options
  const client = new S3Client({
    endpoint: options.endpoint,
    region: options.region,
    forcePathStyle: true,
    maxAttempts: ATTEMPTS,
    credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    // Stores other than S3 itself refuse the checksums that the SDK would add.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  return {
    head: async Key => {
      const found = await orMissing(client.send(new HeadObjectCommand({ Bucket, Key })))
      return found && { size: found.ContentLength ?? 0 }
    },
    get: async (Key, range) => {
      const Range = range && `bytes=${range.start}-${range.end}`
      const found = await orMissing(client.send(new GetObjectCommand({ Bucket, Key, Range })))
      if (!found?.Body) return undefined
      // `bytes 0-9/100`: the size of the whole, which a range's own length does not tell.
      const whole = found.ContentRange?.split('/')[1]
      return { info: { size: Number(whole ?? found.ContentLength) }, body: found.Body.transformToWebStream() }
    },
    put: async (Key, Body) => void (await wrapped(client.send(new PutObjectCommand({ Bucket, Key, Body })))),
    delete: async Key => void (await orMissing(client.send(new DeleteObjectCommand({ Bucket, Key })))),
    list: async (Prefix, cursor) => {
      const command = new ListObjectsV2Command({ Bucket, Prefix, StartAfter: cursor, MaxKeys: PAGE })
      const { Contents = [], IsTruncated } = await wrapped(client.send(command))
      const keys = Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key]))
      return { keys, cursor: IsTruncated ? keys.at(-1) : undefined }
    },
    signUpload: async (Key, { size, expiresMs }) => {
      const command = new PutObjectCommand({ Bucket, Key, ...(size === undefined ? {} : { ContentLength: size }) })
      // The uploader sends its length by itself; signed, it can be no other.
      const signed = size === undefined ? {} : { signableHeaders: new Set(['host', 'content-length']) }
      const url = await wrapped(getSignedUrl(client, command, { expiresIn: Math.ceil(expiresMs / 1000), ...signed }))
      return { url, headers: {} }
    },
    signDownload: (Key, expiresMs) =>
      wrapped(getSignedUrl(client, new GetObjectCommand({ Bucket, Key }), { expiresIn: Math.ceil(expiresMs / 1000) })),
  }
}

async function orMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404) return undefined
    throw failed(error)
  }
}

async function wrapped<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw failed(error)
  }
}

function failed(cause: unknown): SlipwayError {
  const status = cause instanceof S3ServiceException ? ` (HTTP ${cause.$metadata.httpStatusCode})` : ''
  const message = `The object store did not do as it was asked${status}: see its endpoint, bucket and keys.`
  return new SlipwayError('blob.store-failed', message, { cause })
}
