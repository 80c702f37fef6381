import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { S3Options } from '#control-plane/adapters/s3-calls.ts'
import { newToken } from '#control-plane/intent/principal.ts'
import { type Booted, bootSlipway, type Progress } from '#infra/local/boot.ts'
import { apiUrl, type Layout, pathsOf } from '#infra/local/layout.ts'
import { writeNatsConfig } from '#infra/local/nats.ts'

const project = join(import.meta.dirname, '../..')
const wrangler = join(project, 'node_modules/.bin/wrangler')
export const wranglerConfig = join(project, 'infra/control-plane/wrangler.jsonc')
/** wrangler's local bucket has nothing to protect; the keys are those of its configuration. */
const LOCAL_KEYS = { S3_ACCESS_KEY_ID: 'local', S3_SECRET_ACCESS_KEY: 'local-secret-of-no-worth' }
/** Nothing of a test leaves this machine. */
const OFFLINE = {
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  CI: '1',
}

/** Runs a wrangler command to its end; throws with what it said when it fails. */
export function runWrangler(args: readonly string[]): string {
  const result = spawnSync(process.execPath, [wrangler, ...args, '-c', wranglerConfig], {
    encoding: 'utf8',
    timeout: 120_000,
    cwd: project,
    env: { ...process.env, ...OFFLINE },
  })
  if (result.status !== 0) throw new Error(`wrangler ${args.join(' ')}: ${result.stdout}${result.stderr}`)
  return result.stdout
}

/**
 * A whole Slipway whose control plane runs on workerd: a local D1, a local R2 by its S3 API, NATS over WebSocket.
 * `upstreams`: the registries to pull through, as JSON; none, for nothing of a test leaves this machine.
 */
export function bootEdge(layout: Layout, progress: Progress, upstreams = '[]'): Promise<Booted> {
  const paths = pathsOf(layout)
  mkdirSync(paths.secrets, { recursive: true, mode: 0o700 })
  writeNatsConfig(layout)
  writeFileSync(
    paths.operatorToken,
    newToken(bytes => crypto.getRandomValues(bytes)),
    { mode: 0o600 },
  )
  runWrangler(['d1', 'migrations', 'apply', 'slipway', '--local', '--persist-to', paths.controlPlane])
  return bootSlipway(layout, progress, whole => edgeControlPlane(whole, upstreams))
}

/** The same bucket, for this process. */
export function localR2(layout: Layout): S3Options {
  return {
    endpoint: `${apiUrl(layout)}/cdn-cgi/local/r2/s3`,
    region: 'auto',
    bucket: 'slipway',
    accessKeyId: LOCAL_KEYS.S3_ACCESS_KEY_ID,
    secretAccessKey: LOCAL_KEYS.S3_SECRET_ACCESS_KEY,
  }
}

function edgeControlPlane(layout: Layout, upstreams: string) {
  const paths = pathsOf(layout)
  const read = (path: string) => readFileSync(path, 'utf8').trim()
  const variables = {
    PUBLIC_URL: apiUrl(layout),
    ADDRESS_POOL: layout.addressPool,
    S3_ENDPOINT: `${apiUrl(layout)}/cdn-cgi/local/r2/s3`,
    ...LOCAL_KEYS,
    NATS_URL: `ws://127.0.0.1:${layout.natsWebSocketPort}`,
    NATS_CREDENTIALS: read(paths.natsApiCredentials),
    FIRST_TOKEN: read(paths.operatorToken),
    UPSTREAMS: upstreams,
    SECRETS_KEY: randomBytes(32).toString('base64'),
  }
  return {
    name: 'the control plane on workerd',
    command: process.execPath,
    args: [
      ...[wrangler, 'dev', '-c', wranglerConfig, '--ip', '127.0.0.1', '--port', String(layout.apiPort)],
      ...['--inspector-port', '0', '--persist-to', paths.controlPlane, '--show-interactive-dev-session=false'],
      ...Object.entries(variables).flatMap(([name, value]) => ['--var', `${name}:${value}`]),
    ],
    env: OFFLINE,
    logPath: join(paths.logs, 'control-plane.log'),
  }
}
