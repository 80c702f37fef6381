import { realpathSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { uploadFolder } from '#infra/local/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

/** A project's image in the folder `real/NAME`, how it is run, and what it is asked when it runs. */
export interface RealImage {
  name: string
  port: number
  env?: Record<string, string>
  request?: Record<string, unknown>
  /** Contexts besides the main one: folders of this machine. */
  contexts?: () => Record<string, string>
  /** Either a path that is fetched over HTTP, or bytes to send on a connection. */
  ask: { path: string } | { bytes: Uint8Array }
  /** What the answer has, all of it. */
  answers: string[]
  config?: Record<string, unknown>
}

const text = (lines: string) => ({ bytes: Buffer.from(lines) })

export const REAL_IMAGES: RealImage[] = [
  {
    ...{ name: 'redis', port: 6379, ask: text('PING\r\nCONFIG GET dir\r\nQUIT\r\n'), answers: ['+PONG', '/data'] },
    config: { Volumes: { '/data': {} }, Entrypoint: ['entrypoint.sh'], WorkingDir: '/data' },
  },
  {
    ...{ name: 'postgres', port: 5432, env: { POSTGRES_HOST_AUTH_METHOD: 'trust' } },
    ...{ ask: { bytes: postgresQuery('SELECT value FROM answer') }, answers: ['\0\x0242', 'SELECT 1'] },
    config: { StopSignal: 'SIGINT' },
  },
  {
    name: 'nginx',
    port: 80,
    env: { WHO: 'you', NAME: 'here' },
    ask: { path: '/' },
    answers: ['hello you from here\n'],
  },
  {
    name: 'memcached',
    port: 11211,
    ask: text('set k 0 0 5\r\nhello\r\nget k\r\nquit\r\n'),
    answers: ['STORED', 'hello'],
  },
  { name: 'haproxy', port: 8080, ask: { path: '/health' }, answers: ['balanced\n'], config: { User: 'haproxy' } },
  { name: 'caddy', port: 80, ask: { path: '/' }, answers: ['served by caddy'] },
  { name: 'registry', port: 5000, ask: { path: '/v2/_catalog' }, answers: ['"repositories":[]'] },
  { name: 'mosquitto', port: 1883, ask: { bytes: mqttConnect('slipway') }, answers: ['\x20\x02\0\0'] },
  {
    ...{
      name: 'node-exporter',
      port: 9100,
      ask: { path: '/metrics' },
      answers: ['node_uname_info{', 'sysname="Linux"'],
    },
    config: { User: 'nobody' },
  },
  {
    ...{ name: 'express', port: 3000, ask: { path: '/' }, answers: ['hello express from 1000'] },
    contexts: () => ({ node: dirname(dirname(process.execPath)), npm: npmFolder(), certificates: CERTIFICATES }),
  },
  { name: 'flask', port: 8000, ask: { path: '/' }, answers: ['hello flask from 10001\n'] },
  {
    ...{ name: 'go-server', port: 8080, request: { args: { VERSION: 'v1.2' } } },
    ...{ ask: { path: '/' }, answers: ['hello go 1.2 from 65532\n'] },
  },
  { name: 'php-apache', port: 80, ask: { path: '/' }, answers: ['hello php GRÖSSE\n'] },
]

const CERTIFICATES = '/etc/ssl/certs'

/** Of the npm that is found first. */
function npmFolder(): string {
  const found = (process.env.PATH ?? '').split(':').map(folder => join(folder, 'npm'))
  for (const path of found) {
    try {
      return dirname(dirname(realpathSync(path)))
    } catch {} // Not in this folder.
  }
  throw new Error('There is no npm in PATH.')
}

/** The image's context, and the folders that it asks for besides. */
export async function uploadContexts(slipway: TestSlipway, image: RealImage): Promise<Record<string, unknown>> {
  const context = await uploadFolder(slipway.api, join(import.meta.dirname, 'real', image.name))
  const contexts: Record<string, string> = {}
  for (const [name, folder] of Object.entries(image.contexts?.() ?? {})) {
    contexts[name] = await uploadPlain(slipway, folder)
  }
  return { context, contexts }
}

/** Links become what they lead to: some of a system's folders have absolute ones, which no context may have. */
async function uploadPlain(slipway: TestSlipway, folder: string): Promise<string> {
  const copy = await mkdtemp('/var/tmp/slipway-real-')
  try {
    await cp(folder, copy, { recursive: true, dereference: true })
    return await uploadFolder(slipway.api, copy)
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

/** PostgreSQL's protocol 3.0: start-up as `postgres`, then one simple query, then the end. */
function postgresQuery(query: string): Buffer {
  const startup = Buffer.from('\0\x03\0\0user\0postgres\0\0', 'latin1')
  const message = (type: string, body: Buffer) => Buffer.concat([Buffer.from(type), withLength(body)])
  return Buffer.concat([withLength(startup), message('Q', Buffer.from(`${query}\0`)), message('X', Buffer.alloc(0))])
}

function withLength(body: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length + length.length)
  return Buffer.concat([length, body])
}

/** MQTT 3.1.1, "CONNECT": a clean session that says nothing more. */
function mqttConnect(client: string): Buffer {
  const rest = Buffer.concat([
    Buffer.from([0, 4, ...Buffer.from('MQTT'), 4, 2, 0, 30, 0, client.length]),
    Buffer.from(client),
  ])
  return Buffer.concat([Buffer.from([0x10, rest.length]), rest, Buffer.from([0xe0, 0])])
}
