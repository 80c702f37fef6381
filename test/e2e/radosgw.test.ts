import { afterAll, beforeAll, describe } from 'vitest'
import { s3Blobs } from '#control-plane/adapters/s3-blobs.ts'
import { describeBlobStore } from '#shared/ports/blob-store.contract.ts'
import { type Radosgw, startRadosgw } from '#test/support/radosgw.ts'
import { describeBlobFaults } from './blob-faults.contract.ts'

/** The S3 adapter against the most complete S3 that runs on one machine without an account: Ceph's. */

describe('on radosgw', () => {
  let gateway: Radosgw

  beforeAll(async () => {
    gateway = await startRadosgw()
  })
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]()
  })

  // Ceph 16 ignores checksums that it is told, and joins no upload with parts that are not named.
  describeBlobStore('S3 (radosgw)', () => s3Blobs(gateway), { verifiesUploads: false, forgetsParts: false })
  describeBlobFaults('S3 (radosgw)', () => gateway)
})
