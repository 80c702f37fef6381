import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { SlipwayError } from '#shared/errors.ts'
import type { S3Calls } from './s3-calls.ts'
import type { PartStore } from './s3-writer.ts'

/** Putting together large objects takes S3 minutes. */
const JOIN_PATIENCE = 10

/** What `s3Writer` needs, by the S3 API. */
export function s3PartStore(calls: S3Calls, Bucket: string): PartStore {
  const { client, run, find } = calls
  const remove = async (Key: string) => {
    await find(terms => client.send(new DeleteObjectCommand({ Bucket, Key }), terms))
  }
  return {
    put: async (Key, Body) => {
      await run(terms => client.send(new PutObjectCommand({ Bucket, Key, Body }), terms))
    },
    read: async Key => {
      const found = await find(terms => client.send(new GetObjectCommand({ Bucket, Key }), terms))
      if (!found?.Body) return undefined
      const body = calls.watched(found.Body.transformToWebStream(), found.ContentLength ?? 0)
      return new Uint8Array(await new Response(body as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
    },
    remove,
    clear: async Prefix => {
      const listed = await run(terms => client.send(new ListObjectsV2Command({ Bucket, Prefix }), terms))
      for (const { Key } of listed.Contents ?? []) if (Key !== undefined) await remove(Key)
    },
    begin: async Key => {
      const { UploadId } = await run(terms => client.send(new CreateMultipartUploadCommand({ Bucket, Key }), terms))
      return given(UploadId)
    },
    putPart: async (Key, UploadId, PartNumber, Body) => {
      const command = new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body })
      const part = await find(terms => client.send(command, terms))
      if (!part) throw gone()
      return given(part.ETag)
    },
    join: async (Key, UploadId, tags, size) => {
      const Parts = tags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }))
      const command = new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } })
      if (await find(terms => client.send(command, terms).catch(undefinedIfNoParts), JOIN_PATIENCE)) return
      // Gone is the upload also when an earlier attempt joined it and only its answer was lost.
      const made = await find(terms => client.send(new HeadObjectCommand({ Bucket, Key }), terms))
      if (made?.ContentLength !== size) throw gone()
    },
    drop: async (Key, UploadId) => {
      await find(terms => client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }), terms))
    },
  }
}

/** S3 says so of parts that never came. */
function undefinedIfNoParts(error: unknown): undefined {
  if (!(error instanceof Error) || error.name !== 'InvalidPart') throw error
}

const gone = () => new SlipwayError('blob.not-found', 'This upload is no longer there: begin it again.')

function given(value: string | undefined): string {
  if (value === undefined) {
    throw new SlipwayError('blob.store-failed', 'The object store left out what its answer should name.')
  }
  return value
}
