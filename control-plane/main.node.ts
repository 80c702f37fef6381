import { existsSync, mkdirSync, readFileSync, statSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import { join } from 'node:path'
import { type HttpBindings, serve, type WebSocketServerLike } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'
import { connect } from 'nats'
import { pino } from 'pino'
import writeFileAtomic from 'write-file-atomic'
import { z } from 'zod'
import { durationMs, durationSchema } from '#shared/domain/duration.ts'
import { bytesOf, sizeSchema } from '#shared/domain/size.ts'
import { defaultUpstreams, readUpstreams, type Upstream } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { logOutput } from '#shared/ports/log-output.ts'
import { natsTcpBus } from '#shared/ports/nats-tcp.ts'
import { diskFull, openDatabaseReserve } from './adapters/database-reserve.ts'
import { FileStream } from './adapters/file-stream.ts'
import { folderBlobRoutes } from './adapters/folder-blob-routes.ts'
import { openFolderBlobs, readSecret } from './adapters/folder-blobs.ts'
import { httpForgeApi } from './adapters/http-forge-api.ts'
import { httpUpstreams } from './adapters/http-upstreams.ts'
import { migrate } from './adapters/migrate.ts'
import { openSocketServer, upgradeOnNode } from './adapters/node-sockets.ts'
import { requestBody } from './adapters/request-body.ts'
import { sendFile } from './adapters/send-file.ts'
import { openSqlite, type SqliteClient } from './adapters/sqlite.ts'
import { endStalledClients } from './adapters/stalled-clients.ts'
import { createApp } from './app.ts'
import { addressPoolSchema } from './intent/addresses.ts'
import { readBuildPolicy } from './intent/build-limits.ts'
import { DeliveryRoom } from './intent/delivery-room.ts'
import { isToken, newToken } from './intent/principal.ts'
import { openSecretBox } from './intent/secret-box.ts'
import { ensureBuildQueue, sweep } from './intent/sweep.ts'
import { createFirstToken } from './intent/tokens.ts'
import type { Ports } from './ports.ts'
import { openShare } from './registry/share.ts'
import { DOCS_ASSETS } from './routes/docs.ts'
import { problemOf } from './routes/problems.ts'
import { openDatabase } from './store/database.ts'

/** The embedded control plane: one Node process, a SQLite file, a blob folder, NATS over TCP. */

const environment = z
  .object({
    SLIPWAY_DATA: z.string().default('/var/lib/slipway/control-plane'),
    SLIPWAY_LISTEN: z
      .string()
      .regex(/^[^:]+:\d+$/)
      .default('127.0.0.1:7117'),
    SLIPWAY_PUBLIC_URL: z.url().optional(),
    SLIPWAY_NATS_URL: z.string().default('nats://127.0.0.1:4222'),
    SLIPWAY_NATS_CREDENTIALS: z.string().optional(),
    SLIPWAY_ADDRESS_POOL: addressPoolSchema.default('10.86.0.0/16'),
    SLIPWAY_REGISTRY_GRACE: durationSchema.default('24h'),
    SLIPWAY_TOKEN_FILE: z.string().optional(),
    /** Default and highest limits of builds, as JSON (docs/builds.md). */
    SLIPWAY_BUILD_LIMITS: z.string().optional(),
    /** What hosts share of their build caches, and for how long unused (docs/builds.md). */
    SLIPWAY_BUILD_CACHE_BYTES: sizeSchema.default('50g'),
    SLIPWAY_BUILD_CACHE_KEEP: durationSchema.default('14d'),
    /** Registries to pull through, as JSON (docs/registry.md); without it the well-known ones. */
    SLIPWAY_UPSTREAMS_FILE: z.string().optional(),
    SLIPWAY_LOG: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  })
  .parse(process.env)

const SWEEP_MS = 60_000
const RESERVE_MS = 10_000
const STOP_MS = 5000
/** For a client to go on with what it sends, or with what it takes. */
const STALL_MS = 5 * 60_000
const REGISTRY_STEPS = 2000
const project = join(import.meta.dirname, '..')
const log = pino(
  { level: environment.SLIPWAY_LOG },
  logOutput(line => writeSync(2, line)),
)

const data = environment.SLIPWAY_DATA
mkdirSync(data, { recursive: true, mode: 0o700 })
const reserve = openDatabaseReserve(data)
const keepReserve = () => reserve.keep().catch(error => log.warn({ err: error }, 'no room could be reserved'))
const sqlite = await openStore()
void keepReserve()

const publicUrl = environment.SLIPWAY_PUBLIC_URL ?? `http://${environment.SLIPWAY_LISTEN}`
const secret = await readSecret(join(data, 'url-signing.key'))
const blobs = await openFolderBlobs({ folder: join(data, 'blobs'), secret, publicUrl, clock: systemClock })
const [user, password] = environment.SLIPWAY_NATS_CREDENTIALS
  ? readFileSync(environment.SLIPWAY_NATS_CREDENTIALS, 'utf8').trim().split(':')
  : []
const random = (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes)
const ports: Ports = {
  db: openDatabase(sqlite),
  blobs,
  bus: natsTcpBus(connect, { url: environment.SLIPWAY_NATS_URL, user, password, name: 'slipway-api' }),
  clock: systemClock,
  random,
  config: {
    publicUrl,
    addressPool: environment.SLIPWAY_ADDRESS_POOL,
    registryGraceMs: durationMs(environment.SLIPWAY_REGISTRY_GRACE),
    registrySteps: REGISTRY_STEPS,
    builds: readBuildPolicy(environment.SLIPWAY_BUILD_LIMITS),
    buildCache: {
      maxBytes: bytesOf(environment.SLIPWAY_BUILD_CACHE_BYTES),
      keepMs: durationMs(environment.SLIPWAY_BUILD_CACHE_KEEP),
    },
  },
  upstreams: httpUpstreams(configuredUpstreams(environment.SLIPWAY_UPSTREAMS_FILE), systemClock),
  secrets: openSecretBox(new Uint8Array(await readSecret(join(data, 'secrets.key'))), random),
  share: openShare(),
  forges: httpForgeApi(),
  deliveries: new DeliveryRoom(64 * 1024 ** 2),
  requireRoom: reserve.requireRoom,
  later: work => void work().catch(error => log.error({ err: error }, 'work in the background failed')),
  note: (what, facts) => log.warn(facts, what),
}
await keepFirstToken()
void ensureBuildQueue(ports)

/** What only this main serves: blobs out of the folder, and the files of `/docs`. */
const local = new Hono()
local.onError((error, c) => {
  const problem = problemOf(error, crypto.randomUUID())
  if (problem.status >= 500) log.error({ err: error }, 'blob request failed')
  return c.body(JSON.stringify(problem), problem.status as 400, { 'content-type': 'application/problem+json' })
})
for (const name of DOCS_ASSETS) {
  const type = name.endsWith('.css') ? 'text/css' : 'text/javascript'
  local.get(`/docs/assets/${name}`, async c =>
    c.body(new Uint8Array(await readFile(join(project, 'node_modules/swagger-ui-dist', name))), 200, {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'max-age=3600',
    }),
  )
}
local.route('/', folderBlobRoutes(blobs, reserve.requireRoom))
const api = createApp({
  portsFor: () => ports,
  bodyOf: c => requestBody((c.env as HttpBindings).incoming),
  upgrade: upgradeOnNode,
  onFailure: (error, requestId) => log.error({ err: error, requestId }, 'request failed'),
})
const isLocal = (url: string) => /^https?:\/\/[^/]+\/(?:blobs|docs\/assets)\//.test(url)
const answer = async (request: Request, env: HttpBindings): Promise<Response> => {
  const response = await (isLocal(request.url) ? local : api).fetch(request, env)
  if (!(response.body instanceof FileStream)) return response
  try {
    await sendFile(response, response.body, env.outgoing)
  } catch (error) {
    log.error({ err: error }, 'a blob could not be sent')
    if (!env.outgoing.headersSent) return new Response(null, { status: 500 })
  }
  return RESPONSE_ALREADY_SENT
}

const [hostname = '', port = ''] = environment.SLIPWAY_LISTEN.split(':')
const sockets = openSocketServer()
const server = serve(
  // A layer may take longer to come than Node's five minutes for a request; one that stalls is given up all the same.
  {
    fetch: (request, env) => answer(request, env as HttpBindings),
    hostname,
    port: Number(port),
    serverOptions: { requestTimeout: 0 },
    websocket: { server: sockets as unknown as WebSocketServerLike }, // Hono names the least of it, in other words.
  },
  () => log.info({ url: publicUrl }, 'ready'),
)
endStalledClients(server as Server, STALL_MS)
server.on('error', (error: NodeJS.ErrnoException) => {
  const isTaken = error.code === 'EADDRINUSE'
  log.fatal(
    isTaken
      ? `${environment.SLIPWAY_LISTEN} is taken: choose another with SLIPWAY_LISTEN=ADDRESS:PORT.`
      : error.message,
  )
  process.exit(1)
})
const sweeping = setInterval(() => {
  sweep(ports).catch(error => log.error({ err: error }, 'sweep failed'))
}, SWEEP_MS)
setInterval(keepReserve, RESERVE_MS).unref()

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop)

/** Streams in flight end with us; clients resume them. */
function stop(): void {
  clearInterval(sweeping)
  const exit = () => process.exit(0)
  setTimeout(exit, STOP_MS).unref()
  server.close(() => ports.bus.close().finally(exit))
  for (const socket of sockets.clients) socket.close(1012, 'restarting')
  if ('closeAllConnections' in server) server.closeAllConnections()
}

/** Whoever supervises us starts us again: there may be room by then. */
async function openStore(): Promise<SqliteClient> {
  try {
    const client = openSqlite(join(data, 'slipway.db'), reserve)
    await migrate(client, join(import.meta.dirname, 'store/migrations'))
    return client
  } catch (error) {
    if (reserve.isDiskFull()) log.fatal({ err: error }, diskFull(data).message)
    else log.fatal({ err: error }, 'the database could not be opened')
    process.exit(1)
  }
}

/** Its passwords are for nobody else on this machine. */
function configuredUpstreams(path: string | undefined): Upstream[] {
  if (path === undefined) return defaultUpstreams()
  const upstreams = readUpstreams(readFileSync(path, 'utf8'))
  const hasSecrets = upstreams.some(({ endpoints }) => endpoints.some(({ password }) => password !== undefined))
  if (!hasSecrets || (statSync(path).mode & 0o077) === 0) return upstreams
  throw new SlipwayError('upstream.config-invalid', `${path} holds passwords and others may read it: chmod 600 ${path}`)
}

/** The first operator's token is shown once, and kept in a file where one is named. A start killed in between reads that file. */
async function keepFirstToken(): Promise<void> {
  const path = environment.SLIPWAY_TOKEN_FILE
  const kept = path && existsSync(path) ? readFileSync(path, 'utf8').trim() : ''
  const token = isToken(kept) ? kept : newToken(ports.random)
  if (path && token !== kept) await writeFileAtomic(path, token, { mode: 0o600 })
  if ((await createFirstToken(ports, token)) && !path) console.log(`The operator's token, shown this once: ${token}`)
}
