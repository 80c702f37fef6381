import { connect } from 'nats.ws'
import { z } from 'zod'
import { durationMs, durationSchema } from '#shared/domain/duration.ts'
import { bytesOf, sizeSchema } from '#shared/domain/size.ts'
import { defaultUpstreams, readUpstreams } from '#shared/domain/upstream.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { natsWsBus } from '#shared/ports/nats-ws.ts'
import { httpForgeApi } from './adapters/http-forge-api.ts'
import { httpUpstreams } from './adapters/http-upstreams.ts'
import { s3Blobs } from './adapters/s3-blobs.ts'
import { upgradeOnWorkers } from './adapters/workers-sockets.ts'
import { createApp } from './app.ts'
import { addressPoolSchema } from './intent/addresses.ts'
import { readBuildPolicy } from './intent/build-limits.ts'
import { DeliveryRoom } from './intent/delivery-room.ts'
import { openSecretBox, readSecretsKey } from './intent/secret-box.ts'
import { sweep } from './intent/sweep.ts'
import { createFirstToken } from './intent/tokens.ts'
import type { Ports } from './ports.ts'
import { openShare } from './registry/share.ts'
import { DOCS_ASSETS } from './routes/docs.ts'
import { type D1Like, openDatabase } from './store/database.ts'

/** The control plane on workerd: D1, object storage by its S3 API, NATS over WebSocket. One world a request. */

/** A step is seven statements at most, and D1 takes a thousand from one request. */
const REGISTRY_STEPS = 120

interface Bindings extends Record<string, unknown> {
  DB: D1Like
  ASSETS: { fetch(request: Request): Promise<Response> }
}

interface Execution {
  waitUntil(work: Promise<unknown>): void
}

const environmentSchema = z.object({
  PUBLIC_URL: z.url(),
  ADDRESS_POOL: addressPoolSchema.default('10.86.0.0/16'),
  REGISTRY_GRACE: durationSchema.default('24h'),
  S3_ENDPOINT: z.url(),
  S3_REGION: z.string().default('auto'),
  S3_BUCKET: z.string(),
  S3_ACCESS_KEY_ID: z.string(),
  S3_SECRET_ACCESS_KEY: z.string(),
  NATS_URL: z.url(),
  /** `user:password`. */
  NATS_CREDENTIALS: z.string().optional(),
  /** Registries to pull through, as JSON (docs/registry.md); without it the well-known ones. */
  UPSTREAMS: z.string().optional(),
  /** Default and highest limits of builds, as JSON (docs/builds.md). */
  BUILD_LIMITS: z.string().optional(),
  /** What hosts share of their build caches, and for how long unused (docs/builds.md). */
  BUILD_CACHE_BYTES: sizeSchema.default('50g'),
  BUILD_CACHE_KEEP: durationSchema.default('14d'),
  /** 32 random bytes, base64: what secrets are encrypted with. Without it they are refused. */
  SECRETS_KEY: z.string().transform(readSecretsKey).optional(),
  /** An operator's token to begin with: taken in when the store has none yet. */
  FIRST_TOKEN: z
    .string()
    .regex(/^slw_[a-z2-7]{32}$/)
    .optional(),
})
type Environment = z.infer<typeof environmentSchema>

export default {
  async fetch(request: Request, bindings: Bindings, execution: Execution): Promise<Response> {
    const { pathname } = new URL(request.url)
    const asset = DOCS_ASSETS.find(name => pathname === `/docs/assets/${name}`)
    if (asset) return bindings.ASSETS.fetch(new Request(new URL(`/${asset}`, request.url)))
    const environment = environmentSchema.parse(bindings)
    const ports = openPorts(bindings, environment, execution)
    let talk: Promise<void> | undefined
    const app = createApp({
      upgrade: (c, conversation) => upgradeOnWorkers(c, conversation, over => (talk = over)),
      portsFor: async () => {
        if (environment.FIRST_TOKEN && pathname.startsWith('/v')) await createFirstToken(ports, environment.FIRST_TOKEN)
        return ports
      },
      onFailure: (error, requestId) => console.error(JSON.stringify({ requestId, error: describe(error) })),
    })
    const response = await app.fetch(request)
    if (!talk) return closedAtItsEnd(response, ports, execution)
    execution.waitUntil(talk.finally(() => ports.bus.close()))
    return response
  },

  async scheduled(_event: unknown, bindings: Bindings, execution: Execution): Promise<void> {
    const ports = openPorts(bindings, environmentSchema.parse(bindings), execution)
    try {
      await sweep(ports)
    } finally {
      await ports.bus.close()
    }
  },
}

const random = (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes)

/** Shared by the requests of an isolate, which has 128 MB. */
const deliveries = new DeliveryRoom(32 * 1024 ** 2)

function openPorts(bindings: Bindings, environment: Environment, execution: Execution): Ports {
  const [user, password] = environment.NATS_CREDENTIALS?.split(':') ?? []
  return {
    db: openDatabase(bindings.DB),
    blobs: s3Blobs({
      endpoint: environment.S3_ENDPOINT,
      region: environment.S3_REGION,
      bucket: environment.S3_BUCKET,
      accessKeyId: environment.S3_ACCESS_KEY_ID,
      secretAccessKey: environment.S3_SECRET_ACCESS_KEY,
    }),
    bus: natsWsBus(connect, { url: environment.NATS_URL, user, password }),
    clock: systemClock,
    random,
    config: {
      publicUrl: environment.PUBLIC_URL,
      addressPool: environment.ADDRESS_POOL,
      registryGraceMs: durationMs(environment.REGISTRY_GRACE),
      registrySteps: REGISTRY_STEPS,
      builds: readBuildPolicy(environment.BUILD_LIMITS),
      buildCache: {
        maxBytes: bytesOf(environment.BUILD_CACHE_BYTES),
        keepMs: durationMs(environment.BUILD_CACHE_KEEP),
      },
    },
    upstreams: httpUpstreams(
      environment.UPSTREAMS ? readUpstreams(environment.UPSTREAMS) : defaultUpstreams(),
      systemClock,
    ),
    secrets: openSecretBox(environment.SECRETS_KEY, random),
    share: openShare(),
    deliveries,
    requireRoom: () => {}, // D1 keeps its own disks.
    forges: httpForgeApi(),
    later: work =>
      execution.waitUntil(work().catch(error => console.error(JSON.stringify({ error: describe(error) })))),
    note: (what, facts) => console.warn(JSON.stringify({ note: what, ...facts })),
  }
}

/** A stream may use the bus until its last byte; without a connection closing costs nothing. */
function closedAtItsEnd(response: Response, ports: Ports, execution: Execution): Response {
  const close = () => ports.bus.close()
  if (!response.body) {
    execution.waitUntil(close())
    return response
  }
  const { readable, writable } = new TransformStream()
  execution.waitUntil(
    response.body
      .pipeTo(writable)
      .catch(() => {})
      .finally(close),
  )
  return new Response(readable, response)
}

function describe(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error)
  return { message: error.message, stack: error.stack, ...(error.cause ? { cause: describe(error.cause) } : {}) }
}
