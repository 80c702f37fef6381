import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type Layout, pathsOf } from './layout.ts'

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
${webSocket(layout.natsWebSocketPort)}authorization {
  users: [
    { user: "${api.user}", password: "${api.password}", permissions: { publish: "slipway.>", subscribe: "slipway.>" } }
    { user: "${agent.user}", password: "${agent.password}", permissions: {
      publish: "slipway.stream.*", subscribe: ["slipway.host.>", "slipway.stream.*.ack"] } }
  ]
}
`
  writeFileSync(paths.natsConfig, config, { mode: 0o600 })
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
