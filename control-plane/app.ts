import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { reaches } from '#shared/domain/api-scope.ts'
import { ERRORS, SlipwayError } from '#shared/errors.ts'
import type { Upgrade } from '#shared/ports/socket-peer.ts'
import { authenticate } from './intent/principal.ts'
import type { Ports } from './ports.ts'
import { agentRoutes } from './routes/agent.ts'
import { agentBuildCacheRoutes } from './routes/agent-build-cache.ts'
import { buildCacheRoutes } from './routes/build-cache.ts'
import { buildRoutes } from './routes/builds.ts'
import { cacheMountRoutes } from './routes/cache-mounts.ts'
import { containerFileRoutes } from './routes/container-files.ts'
import { containerHealthRoutes } from './routes/container-health.ts'
import { containerRoutes } from './routes/containers.ts'
import { contextRoutes } from './routes/contexts.ts'
import { docsRoutes } from './routes/docs.ts'
import { type AppEnv, router } from './routes/environment.ts'
import { eventRoutes } from './routes/events.ts'
import { execRoutes } from './routes/execs.ts'
import { garbageRoutes } from './routes/garbage.ts'
import { healthRoutes } from './routes/health.ts'
import { hookRoutes } from './routes/hooks.ts'
import { hostRoutes } from './routes/hosts.ts'
import { imageRoutes } from './routes/images.ts'
import { logRoutes } from './routes/logs.ts'
import { isNewWork } from './routes/new-work.ts'
import { problemOf, tooLarge } from './routes/problems.ts'
import { registryRoutes } from './routes/registry.ts'
import { isRegistryPath, registryErrors, registryHeaders } from './routes/registry-problems.ts'
import { repositoryRoutes } from './routes/repositories.ts'
import { secretRoutes } from './routes/secrets.ts'
import { tokenRoutes } from './routes/tokens.ts'

const BODY_LIMIT = 1024 * 1024
/** Agents report a thousand containers at once, and manifests have up to 4 MiB. */
const AGENT_BODY_LIMIT = 16 * 1024 * 1024

/** Names that hold slashes are one segment of the path. */
const NAMED_IN_PATH = /^\/v1\/(?:images|repositories)\/[^/]+\/./

export interface AppOptions {
  /** The world of one request: a process's own on Node, made for the request on workerd. */
  portsFor(c: Context): Ports | Promise<Ports>
  /** The bytes of a request that may be large, where the platform has a better way than `Request.body`. */
  bodyOf?(c: Context): ReadableStream<Uint8Array> | null
  /** How the platform makes a WebSocket of a request. */
  upgrade?: Upgrade<Context>
  /** Called with what was no refusal of ours, to be logged. */
  onFailure(error: unknown, requestId: string): void
}

/** The whole API: a pure `Request → Response`, the same on Node and on workerd. */
export function createApp(options: AppOptions): OpenAPIHono<AppEnv> {
  const app = router()
  app.use(async (c, next) => {
    c.set('requestId', crypto.randomUUID())
    c.header('X-Request-Id', c.get('requestId'))
    c.header('X-Content-Type-Options', 'nosniff')
    c.set('ports', await options.portsFor(c))
    c.set('bodyOf', () => (options.bodyOf ? options.bodyOf(c) : c.req.raw.body))
    c.set('upgrade', talk => options.upgrade?.(c, talk) ?? new Response(null, { status: 501 }))
    await next()
  })
  const onError = () => {
    throw tooLarge()
  }
  const operatorLimit = bodyLimit({ maxSize: BODY_LIMIT, onError })
  const agentLimit = bodyLimit({ maxSize: AGENT_BODY_LIMIT, onError })
  app.use('/v1/*', async (c, next) => {
    c.set('principal', await authenticate(c.get('ports'), c.req.header('authorization')))
    refuseStrangers(c)
    if (isNewWork(c.req.method, c.req.path)) c.get('ports').requireRoom()
    return (isAgentPath(c.req.path) ? agentLimit : operatorLimit)(c, async () => {
      await forgetTypeOfNothing(c)
      await next()
    })
  })
  const modules = [
    healthRoutes,
    docsRoutes,
    contextRoutes,
    buildCacheRoutes,
    cacheMountRoutes,
    buildRoutes,
    imageRoutes,
  ]
  const containers = [containerRoutes, containerFileRoutes, containerHealthRoutes, logRoutes, execRoutes]
  const registry = [registryRoutes, repositoryRoutes, garbageRoutes]
  for (const routes of [
    ...modules,
    ...containers,
    hostRoutes,
    eventRoutes,
    tokenRoutes,
    secretRoutes,
    hookRoutes,
    agentRoutes,
    agentBuildCacheRoutes,
    ...registry,
  ]) {
    app.route('/', routes())
  }

  app.openAPIRegistry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' })
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'Slipway',
      version: 'v1',
      description:
        'Builds container images and runs them on a fleet of hosts. The OCI registry at `/v2/` (distribution-spec 1.1) is not listed here: docs/registry.md.',
    },
    security: [{ token: [] }],
  })
  app.get('/', c => c.redirect('/docs'))
  app.notFound(c => {
    const allowed = methodsOf(app, c.req.path)
    if (allowed.length > 0) {
      throw new SlipwayError('request.method-not-allowed', `${c.req.path} takes ${allowed.join(', ')}.`, {
        facts: { allowed },
      })
    }
    const advice = NAMED_IN_PATH.test(c.req.path) ? ' Write a slash within a name as %2F.' : ''
    throw new SlipwayError(
      'request.not-found',
      `There is no ${c.req.method} ${c.req.path}.${advice} /docs lists what there is.`,
    )
  })
  app.onError((error, c) => {
    const requestId = c.get('requestId')
    const problem = problemOf(error, requestId)
    if (problem.status >= 500 && problem.code !== 'request.timeout') options.onFailure(error, requestId)
    const isRegistry = isRegistryPath(c.req.path)
    const headers: Record<string, string> = {
      'content-type': 'application/problem+json',
      'x-request-id': requestId,
      ...(isRegistry ? registryHeaders(c, problem) : {}),
    }
    if (problem.status === 405) headers.allow = String(problem.facts?.allowed)
    if (problem.status === 401) headers['www-authenticate'] ??= 'Bearer'
    // The rest of the body is not read, so the connection cannot carry another request; of a delivery it is.
    if (problem.status === 413 && !c.req.path.startsWith('/hooks/')) headers.connection = 'close'
    if (problem.retry && problem.status === ERRORS['host.unreachable'].status) headers['retry-after'] = '1'
    if (typeof problem.facts?.retryAfterS === 'number') headers['retry-after'] = String(problem.facts.retryAfterS)
    return c.body(JSON.stringify(isRegistry ? registryErrors(problem) : problem), problem.status as 400, headers)
  })
  return app
}

/** Which methods have a handler for a path: middleware runs for a method that nobody knows, too. */
function methodsOf(app: OpenAPIHono<AppEnv>, path: string): string[] {
  const handlers = (method: string) => app.router.match(method, path)[0].length
  return ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter(method => handlers(method) > handlers('NOBODY'))
}

/** Clients that always send `Content-Type: application/json` send it without a body, too: an optional body is left out then. */
async function forgetTypeOfNothing(c: Context<AppEnv>): Promise<void> {
  const { raw } = c.req
  const isOpen = c.req.header('content-length') === undefined && c.req.header('transfer-encoding') === undefined
  if (c.req.header('content-type') === undefined || (!isOpen && c.req.header('content-length') !== '0')) return
  const bytes = await raw.arrayBuffer() // HTTP/2 announces nothing; the limit above bounds it.
  const headers = new Headers(raw.headers)
  if (bytes.byteLength === 0) headers.delete('content-type')
  const body = bytes.byteLength === 0 ? null : bytes
  c.req.raw = new Request(raw.url, { method: raw.method, headers, signal: raw.signal, body })
}

const isAgentPath = (path: string) => path.startsWith('/v1/agent/')

/** A host's token is good for the agent's own calls, a scoped one for the registry, an operator's for everything else. */
function refuseStrangers(c: Context<AppEnv>): void {
  const { scopes } = c.get('principal')
  if (!reaches(scopes, c.req.method, c.req.path)) {
    const what = `This token may not ${c.req.method} ${c.req.path}: its scopes are ${scopes?.join(' ')}`
    throw new SlipwayError('auth.forbidden', `${what}, which are for other things. Use an operator's token.`)
  }
  const isAgent = c.get('principal').hostId !== null
  if (isAgent === isAgentPath(c.req.path)) return
  const who = isAgent ? "A host's token reaches /v1/agent/ only" : "/v1/agent/ is for hosts' own tokens"
  throw new SlipwayError('auth.forbidden', `${who}: use the other kind of token.`)
}
