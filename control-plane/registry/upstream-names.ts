import { parseRepository, type Repository } from '#shared/domain/repository.ts'
import { HUB, hubName, type Mirrored, mirroredName } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { hasRepository } from '../store/tags.ts'

/** A repository that is pulled through. */
export interface Source extends Mirrored {
  /** What we keep it as: the registry, a slash, and its name there. */
  repository: Repository
  tagTtlMs: number
}

/** The upstream repository that a name means; undefined for names of our own, and for registries that are not configured. */
export function sourceOf(ports: Pick<Ports, 'upstreams'>, name: string): Source | undefined {
  const at = mirroredName(name)
  const upstream = at && ports.upstreams.find(at.registry)
  return upstream && { ...at, repository: parseRepository(keptAs(at)), tagTtlMs: upstream.tagTtlMs }
}

/** What a repository's name may mean in the store, without asking anybody else. */
export async function keptName(ports: Ports, name: string): Promise<string> {
  const source = sourceOf(ports, name)
  if (source) return source.repository
  if (mirroredName(name)) return name
  // A repository of ours is ours with all its tags: a mistyped one must not bring in a stranger's image.
  return (await hasRepository(ports.db, name)) ? name : keptAs({ registry: HUB, remote: hubName(name) })
}

const keptAs = ({ registry, remote }: Mirrored) => `${registry}/${remote}`

/**
 * What an upstream's repository holds came from there: nobody else writes to it. A name with a registry's port is none of ours.
 * Errors: `upstream.read-only`, `image.reference-invalid`.
 */
export function refuseUpstreamName(ports: Pick<Ports, 'upstreams'>, name: string): void {
  const [address = '', ...path] = name.split('/')
  if (address.includes(':')) {
    const message = `${name} names a registry's address: images are made here, by a name alone (${path.join('/')}). Copy them to others afterwards.`
    throw new SlipwayError('image.reference-invalid', message)
  }
  const source = sourceOf(ports, name)
  if (!source) return
  throw new SlipwayError(
    'upstream.read-only',
    `${name} is pulled through from ${source.registry} and takes nothing else: choose a name without ${source.registry}/.`,
  )
}
