import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CONSUMER } from '#shared/ports/nats-queue.ts'
import { AGENT_INBOXES, BUILD_QUEUE } from '#shared/protocol/bus.ts'
import { type Layout, pathsOf } from './layout.ts'

const { name: STREAM } = BUILD_QUEUE
/** The API makes the builds' queue and its consumer, and can do nothing else with streams. */
const API_OF_STREAMS = [
  `$JS.API.STREAM.CREATE.${STREAM}`,
  `$JS.API.STREAM.UPDATE.${STREAM}`,
  `$JS.API.STREAM.INFO.${STREAM}`,
  `$JS.API.CONSUMER.CREATE.${STREAM}.>`,
  `$JS.API.CONSUMER.DURABLE.CREATE.${STREAM}.${CONSUMER}`,
]
/** An agent takes messages of that queue. */
const AGENTS_OF_STREAMS = [
  `$JS.API.CONSUMER.INFO.${STREAM}.${CONSUMER}`,
  `$JS.API.CONSUMER.MSG.NEXT.${STREAM}.${CONSUMER}`,
  `$JS.ACK.${STREAM}.${CONSUMER}.>`,
]
const list = (subjects: string[]) => JSON.stringify(subjects)

/**
 * nats-server's configuration: loopback only, one user for the API and one for agents with no more rights than
 * `shared/protocol/bus.ts` says they need. Passwords are made at first start and kept in files of mode 0600.
 */
export function writeNatsConfig(layout: Layout): string {
  const paths = pathsOf(layout)
  const api = credentials(paths.natsApiCredentials, 'api')
  const agent = credentials(paths.natsAgentCredentials, 'agent')
  const config = `listen: "127.0.0.1:${layout.natsPort}"
max_payload: 1048576
jetstream { store_dir: ${JSON.stringify(join(layout.dataFolder, 'nats'))}, max_memory_store: 1048576, max_file_store: 67108864 }
${webSocket(layout.natsWebSocketPort)}authorization {
  users: [
    { user: "${api.user}", password: "${api.password}", permissions: {
      publish: ${list(['slipway.>', ...API_OF_STREAMS])}, subscribe: ["slipway.>", "_INBOX.>"] } }
    { user: "${agent.user}", password: "${agent.password}", permissions: {
      publish: ${list(['slipway.stream.*', 'slipway.stream.*.in.ack', ...AGENTS_OF_STREAMS])},
      subscribe: ["slipway.host.>", "slipway.stream.*.ack", "slipway.stream.*.in", "${AGENT_INBOXES}.>"] } }
  ]
}
`
  // One that is right stays: on a full disk it could not be written again, and would be lost.
  const isRight = existsSync(paths.natsConfig) && readFileSync(paths.natsConfig, 'utf8') === config
  if (!isRight) writeFileSync(paths.natsConfig, config, { mode: 0o600 })
  return paths.natsConfig
}

/** Without TLS, which is why it listens on loopback alone. */
function webSocket(port: number | undefined): string {
  return port === undefined ? '' : `websocket { listen: "127.0.0.1:${port}", no_tls: true }\n`
}

function credentials(path: string, user: string) {
  if (!existsSync(path)) writeFileSync(path, `${user}:${randomBytes(24).toString('hex')}`, { mode: 0o600 })
  const [, password = ''] = readFileSync(path, 'utf8').trim().split(':')
  return { user, password }
}
