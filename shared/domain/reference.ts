import { type Digest, isDigest } from '../digest.ts'
import { SlipwayError } from '../errors.ts'
import { isTag } from './repository.ts'

/** `repository[:tag][@digest]`; without either the tag is `latest`. */
export interface ImageReference {
  repository: string
  tag: string | undefined
  digest: Digest | undefined
}

// distribution-spec 1.1, "Pulling manifests": the grammar of <name>. A registry host with a port may lead.
const REPOSITORY =
  /^(?:[a-zA-Z0-9.-]+(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/

export function parseImageReference(text: string): ImageReference {
  const [name = '', digest, ...rest] = text.split('@')
  const colon = name.lastIndexOf(':')
  const hasTag = colon > name.lastIndexOf('/')
  const repository = hasTag ? name.slice(0, colon) : name
  const tag = hasTag ? name.slice(colon + 1) : undefined
  const isGood =
    rest.length === 0 &&
    repository.length <= 255 &&
    REPOSITORY.test(repository) &&
    (tag === undefined || isTag(tag)) &&
    (digest === undefined || isDigest(digest))
  if (!isGood) {
    throw new SlipwayError(
      'image.reference-invalid',
      `${JSON.stringify(text)} is no image name: write repository[:tag] or repository@sha256:…, in lower case.`,
    )
  }
  return { repository, tag: tag ?? (digest ? undefined : 'latest'), digest: digest as Digest | undefined }
}

export function formatImageReference(reference: ImageReference): string {
  const tag = reference.tag ? `:${reference.tag}` : ''
  return `${reference.repository}${tag}${reference.digest ? `@${reference.digest}` : ''}`
}
