import type { Digest } from '#shared/digest.ts'
import type { Repository } from '#shared/domain/repository.ts'
import type { Ports } from '../ports.ts'
import { listReferrers } from '../store/manifests.ts'

/** With annotations of 64 KiB at most each, a page stays near the 4 MiB that clients take. */
const PAGE = 60

export interface ReferrersPage {
  /** An image index, as distribution-spec 1.1 "Listing Referrers" has it. */
  index: { schemaVersion: 2; mediaType: string; manifests: object[] }
  /** The digest after which the next page begins. */
  next: string | undefined
}

/** Manifests whose subject is this digest, whether or not that one is there. */
export async function referrersOf(
  ports: Ports,
  repository: Repository,
  subject: Digest,
  artifactType: string | undefined,
  after: string,
): Promise<ReferrersPage> {
  const rows = await listReferrers(ports.db, repository, subject, artifactType, after, PAGE + 1)
  const shown = rows.slice(0, PAGE)
  const manifests = shown.map(({ digest, mediaType, size, artifactType: type, annotations }) => ({
    ...{ mediaType, size, digest },
    ...(type ? { artifactType: type } : {}),
    ...(annotations ? { annotations } : {}),
  }))
  return {
    index: { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests },
    next: rows.length > PAGE ? shown.at(-1)?.digest : undefined,
  }
}
