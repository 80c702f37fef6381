import type { Context } from 'hono'
import { type Action, allows, parseRepository, type Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import { refuseUpstreamName, sourceOf } from '../registry/upstream-names.ts'
import { type AppEnv, router } from './environment.ts'
import { isNewWork } from './new-work.ts'
import { getBlob, getReferrers, headBlob, listTagsOf, removeBlobOf } from './registry-blobs.ts'
import { deleteManifest, getManifest, putManifest } from './registry-manifests.ts'
import { authenticateClient, repositoriesOf, tokenAnswer } from './registry-token.ts'
import { cancel, chunk, finish, start, status } from './registry-uploads.ts'

/** One endpoint of distribution-spec 1.1 ("Endpoints"): what it needs, and who answers. */
interface Endpoint {
  method: string
  /** What follows the repository's name; groups are the handler's arguments. */
  tail: RegExp
  action: Action
  answer(c: Context<AppEnv>, repository: Repository, argument: string): Promise<Response>
}

const BLOB = /^blobs\/([^/]+)$/
const UPLOADS = /^blobs\/uploads\/?()$/
const UPLOAD = /^blobs\/uploads\/([^/]+)$/
const MANIFEST = /^manifests\/([^/]+)$/

const ENDPOINTS: readonly Endpoint[] = [
  { method: 'POST', tail: UPLOADS, action: 'push', answer: start },
  { method: 'GET', tail: UPLOAD, action: 'push', answer: status },
  { method: 'PATCH', tail: UPLOAD, action: 'push', answer: chunk },
  { method: 'PUT', tail: UPLOAD, action: 'push', answer: finish },
  { method: 'DELETE', tail: UPLOAD, action: 'push', answer: cancel },
  { method: 'HEAD', tail: BLOB, action: 'pull', answer: headBlob },
  { method: 'GET', tail: BLOB, action: 'pull', answer: getBlob },
  { method: 'DELETE', tail: BLOB, action: 'delete', answer: removeBlobOf },
  { method: 'HEAD', tail: MANIFEST, action: 'pull', answer: getManifest },
  { method: 'GET', tail: MANIFEST, action: 'pull', answer: getManifest },
  { method: 'PUT', tail: MANIFEST, action: 'push', answer: putManifest },
  { method: 'DELETE', tail: MANIFEST, action: 'delete', answer: deleteManifest },
  { method: 'GET', tail: /^tags\/list()$/, action: 'pull', answer: listTagsOf },
  { method: 'GET', tail: /^referrers\/([^/]+)$/, action: 'pull', answer: getReferrers },
]

/** The OCI Distribution API. Its errors have the specification's form (`registry-problems.ts`). */
export function registryRoutes() {
  const routes = router()
  routes.use('/v2/*', async (c, next) => {
    c.header('Docker-Distribution-Api-Version', 'registry/2.0')
    await next()
  })
  routes.on(['GET', 'POST'], '/v2/token', tokenAnswer)
  routes.use('/v2/*', async (c, next) => {
    c.set('principal', await authenticateClient(c.get('ports'), c.req.header('authorization')))
    if (c.get('principal').hostId !== null) {
      throw new SlipwayError(
        'auth.forbidden',
        "A host's token is not for the registry: use an operator's, or a scoped one.",
      )
    }
    await next()
  })
  for (const path of ['/v2', '/v2/']) routes.get(path, c => c.json({}))
  routes.get('/v2/_catalog', repositoriesOf)
  routes.all('/v2/*', c => dispatch(c))
  return routes
}

/** The repository's name may hold slashes, and words that endpoints have too: the longest name that fits is meant. */
function dispatch(c: Context<AppEnv>): Promise<Response> {
  const path = c.req.path.slice('/v2/'.length)
  const found = ENDPOINTS.flatMap(endpoint => {
    const parts = split(path, endpoint.tail)
    return parts ? [{ endpoint, ...parts }] : []
  })
  if (found.length === 0) throw new SlipwayError('request.not-found', `There is no ${c.req.path} in a registry.`)
  const match = found.find(({ endpoint }) => endpoint.method === c.req.method)
  if (!match)
    throw new SlipwayError('request.method-not-allowed', `${c.req.path} does not take ${c.req.method}.`, {
      facts: { allowed: found.map(({ endpoint }) => endpoint.method) },
    })
  const repository = repositoryOf(c, match.name)
  refuseUnlessAllowed(c, repository, match.endpoint.action)
  if (isNewWork(c.req.method, c.req.path)) c.get('ports').requireRoom()
  if (match.endpoint.action === 'push') refuseUpstreamName(c.get('ports'), repository)
  return match.endpoint.answer(c, repository, match.argument)
}

/**
 * The name in the path. `ns` is what containerd tells a mirror: the registry that it asks it instead of, whose repository
 * then is meant (containerd, docs/hosts.md). A name that begins with an upstream is the one that it is kept by.
 */
function repositoryOf(c: Context<AppEnv>, name: string): Repository {
  const ns = c.req.query('ns')
  const isOurs =
    ns === undefined || [new URL(c.req.url).host, new URL(c.get('ports').config.publicUrl).host].includes(ns)
  const whole = isOurs ? name : `${ns}/${name}`
  return sourceOf(c.get('ports'), whole)?.repository ?? parseRepository(whole)
}

/** `a/b/blobs/sha256:…` → name `a/b` and what the tail's group holds. */
function split(path: string, tail: RegExp): { name: string; argument: string } | undefined {
  const places = [...path.matchAll(/\/(?=(?:blobs|manifests|tags|referrers)\/)/g)].map(({ index }) => index)
  for (const at of places.reverse()) {
    const match = tail.exec(path.slice(at + 1))
    if (match) return { name: path.slice(0, at), argument: decoded(match[1] ?? '') }
  }
  return undefined
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new SlipwayError('request.not-found', 'This path has an escape that is none.')
  }
}

const PREPOSITION = { pull: 'from', push: 'to', delete: 'from' } as const satisfies Record<Action, string>

function refuseUnlessAllowed(c: Context<AppEnv>, repository: Repository, action: Action): void {
  if (allows(c.get('principal').scopes, repository, action)) return
  throw new SlipwayError(
    'auth.forbidden',
    `This token may not ${action} ${PREPOSITION[action]} ${repository}: that takes the scope repository:${repository}:${action}.`,
  )
}
