import { join } from 'node:path'
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

const environmentSchema = z.object({
  SLIPWAY_INSTANCE: z
    .string()
    .regex(/^[a-z0-9]{1,8}$/)
    .default('main'),
  SLIPWAY_DATA: z.string().default('/var/lib/slipway'),
  SLIPWAY_RUN: z.string().default('/run/slipway'),
  SLIPWAY_API_PORT: z.coerce.number().int().min(1).max(65535).default(7117),
  SLIPWAY_NATS_PORT: z.coerce.number().int().min(1).max(65535).default(7118),
  SLIPWAY_ADDRESS_POOL: z.cidrv4().default('10.86.0.0/16'),
})

export function layoutFromEnvironment(environment: NodeJS.ProcessEnv): Layout {
  const read = environmentSchema.parse(environment)
  return {
    instance: read.SLIPWAY_INSTANCE,
    dataFolder: read.SLIPWAY_DATA,
    runFolder: read.SLIPWAY_RUN,
    apiPort: read.SLIPWAY_API_PORT,
    natsPort: read.SLIPWAY_NATS_PORT,
    addressPool: read.SLIPWAY_ADDRESS_POOL,
  }
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
