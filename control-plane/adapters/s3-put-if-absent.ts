import { setTimeout as sleep } from 'node:timers/promises'
import { GetObjectCommand, PutObjectCommand, S3ServiceException } from '@aws-sdk/client-s3'
import { type S3Calls, statusOf } from './s3-calls.ts'

export interface NewObject {
  Bucket: string
  Key: string
  Body: Uint8Array
}

const ATTEMPTS = 4
const BACK_OFF_MS = 50

/**
 * Puts an object where none is; returns whether it did. S3 answers 412 when one is there, and 409 when another write to
 * the key was under way: then nothing is decided yet, so it asks again.
 */
export async function putIfAbsent(calls: S3Calls, object: NewObject, attempt = 1): Promise<boolean> {
  const command = new PutObjectCommand({ ...object, IfNoneMatch: '*' })
  const refusal = await calls.run(terms =>
    calls.client.send(command, terms).then(
      () => undefined,
      error => refusalOf(error, attempt < ATTEMPTS),
    ),
  )
  if (refusal === undefined) return true
  if (statusOf(refusal) === 412) return isRepeated(refusal) && isThere(calls, object)
  await sleep(BACK_OFF_MS * attempt * (1 + Math.random()))
  return putIfAbsent(calls, object, attempt + 1)
}

function refusalOf(error: unknown, mayAskAgain: boolean): S3ServiceException {
  const status = statusOf(error)
  if (error instanceof S3ServiceException && (status === 412 || (status === 409 && mayAskAgain))) return error
  throw error
}

/** Whether an earlier attempt of the same call may have written the object, with its answer lost on the way. */
const isRepeated = (refusal: S3ServiceException) => (refusal.$metadata.attempts ?? 1) > 1

async function isThere({ client, find }: S3Calls, { Bucket, Key, Body }: NewObject): Promise<boolean> {
  const found = await find(terms => client.send(new GetObjectCommand({ Bucket, Key }), terms))
  if (!found?.Body || found.ContentLength !== Body.length) return false
  return Buffer.compare(await found.Body.transformToByteArray(), Body) === 0
}
