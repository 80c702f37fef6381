import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { z } from 'zod'

/** Where one Slipway of this machine keeps its things and which ports it takes. Tests make their own. */
export interface Layout {
  instance: string
  dataFolder: string
  runFolder: string
  apiPort: number
  natsPort: number
  /** Where nats-server takes WebSockets too: a control plane on workerd needs that. */
  natsWebSocketPort?: number
  /** IPv4 pool that hosts' /24 subnets are cut from. */
  addressPool: string
}

const DATA = '/var/lib/slipway'

const environmentSchema = z.object({
  SLIPWAY_INSTANCE: z
    .string()
    .regex(/^[a-z0-9]{1,8}$/)
    .optional(),
  SLIPWAY_DATA: z.string().default(DATA),
  SLIPWAY_RUN: z.string().default('/run/slipway'),
  SLIPWAY_API_PORT: z.coerce.number().int().min(1).max(65535).default(7117),
  SLIPWAY_NATS_PORT: z.coerce.number().int().min(1).max(65535).default(7118),
  SLIPWAY_ADDRESS_POOL: z.cidrv4().optional(),
})

export function layoutFromEnvironment(environment: NodeJS.ProcessEnv): Layout {
  const read = environmentSchema.parse(environment)
  const instance = read.SLIPWAY_INSTANCE ?? instanceOf(read.SLIPWAY_DATA)
  return {
    instance,
    dataFolder: read.SLIPWAY_DATA,
    runFolder: read.SLIPWAY_RUN,
    apiPort: read.SLIPWAY_API_PORT,
    natsPort: read.SLIPWAY_NATS_PORT,
    addressPool: read.SLIPWAY_ADDRESS_POOL ?? addressPoolOf(instance),
  }
}

/** Bridges, tables and cgroups bear the instance's name: one that keeps its data elsewhere is another one. */
function instanceOf(dataFolder: string): string {
  if (resolve(dataFolder) === DATA) return 'main'
  return `i${createHash('sha256').update(resolve(dataFolder)).digest('hex').slice(0, 7)}`
}

/** Two instances of one machine must not route the same subnets. */
export function addressPoolOf(instance: string): string {
  if (instance === 'main') return '10.86.0.0/16'
  return `10.${100 + ((createHash('sha256').update(instance).digest()[0] ?? 0) % 100)}.0.0/16`
}

export function pathsOf(layout: Layout) {
  const secrets = join(layout.dataFolder, 'secrets')
  return {
    secrets,
    operatorToken: join(secrets, 'operator.token'),
    hostToken: join(secrets, 'host.token'),
    natsConfig: join(secrets, 'nats.conf'),
    natsApiCredentials: join(secrets, 'nats-api'),
    natsAgentCredentials: join(secrets, 'nats-agent'),
    controlPlane: join(layout.dataFolder, 'control-plane'),
    agent: join(layout.dataFolder, 'agent'),
    logs: join(layout.dataFolder, 'logs'),
  }
}

export function apiUrl(layout: Layout): string {
  return `http://127.0.0.1:${layout.apiPort}`
}
