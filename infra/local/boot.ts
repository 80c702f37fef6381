import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type ApiClient, ApiError, apiClient } from './api-client.ts'
import { apiUrl, type Layout, pathsOf } from './layout.ts'
import { writeNatsConfig } from './nats.ts'
import { type ProcessOptions, type Supervised, supervise, waitUntil } from './processes.ts'

/** A whole Slipway on this machine: nats-server, the control plane and one agent, each started again when it dies. */
export interface Booted extends AsyncDisposable {
  api: ApiClient
  /** True when this start made the operator's token: the only time it is shown. */
  isFirstStart: boolean
  operatorToken: string
  nats: Supervised
  controlPlane: Supervised
  agent: Supervised
}

export type Progress = (what: string) => void

const READY_MS = 30_000
const project = join(import.meta.dirname, '../..')
/** Little room for young objects: halves the memory at rest, and nothing here makes many of them. */
export const LEAN = ['--max-semi-space-size=1']
/** Layers pass through it as buffers that many threads free: in one arena their room is used again, not spread over several. */
export const CONTROL_PLANE_LEAN = { args: LEAN, env: { MALLOC_ARENA_MAX: '1' } }
/** Types stripped once: without it each start loads the compiler, 30 MB that stay. */
export const COMPILE_CACHE = join(project, 'node_modules/.cache/node-compile')

/** Throws an Error whose message says what to do: a port is taken, or a part did not come up (with its log's path). */
export async function bootSlipway(
  layout: Layout,
  progress: Progress,
  controlPlaneProcess: (layout: Layout) => ProcessOptions = nodeControlPlane,
): Promise<Booted> {
  const paths = pathsOf(layout)
  await refuseTakenPorts(layout)
  mkdirSync(paths.secrets, { recursive: true, mode: 0o700 })
  const isFirstStart = !existsSync(paths.operatorToken)
  await using undo = new AsyncDisposableStack()

  progress('starting nats-server')
  const nats = undo.use(supervise(natsProcess(layout), progress))
  progress('starting the control plane')
  const controlPlane = undo.use(supervise(controlPlaneProcess(layout), progress))
  await untilReady(`${apiUrl(layout)}/readyz`, join(paths.logs, 'control-plane.log'))
  const operatorToken = readFileSync(paths.operatorToken, 'utf8').trim()
  const api = apiClient(apiUrl(layout), operatorToken)

  progress('starting the agent of this machine')
  await registerHost(api, apiUrl(layout), paths.hostToken)
  const agent = undo.use(supervise(agentProcess(layout), progress))
  const cannotWork = agent.gaveUp.then(reason => {
    throw new Error(`The agent cannot work: ${reason}`)
  })
  cannotWork.catch(() => {}) // Later on it is told by `gaveUp`.
  await Promise.race([untilHostReady(api, join(paths.logs, 'agent.log')), cannotWork])

  const started = undo.move()
  return {
    api,
    isFirstStart,
    operatorToken,
    nats,
    controlPlane,
    agent,
    [Symbol.asyncDispose]: () => started.disposeAsync(), // The agent first, then what it talks to.
  }
}

function natsProcess(layout: Layout) {
  const logPath = join(pathsOf(layout).logs, 'nats.log')
  return { name: 'nats-server', command: 'nats-server', args: ['-c', writeNatsConfig(layout)], logPath }
}

function nodeControlPlane(layout: Layout): ProcessOptions {
  const paths = pathsOf(layout)
  return {
    name: 'the control plane',
    command: process.execPath,
    args: [...CONTROL_PLANE_LEAN.args, join(project, 'control-plane/main.node.ts')],
    env: {
      ...CONTROL_PLANE_LEAN.env,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      SLIPWAY_DATA: paths.controlPlane,
      SLIPWAY_LISTEN: `127.0.0.1:${layout.apiPort}`,
      SLIPWAY_NATS_URL: `nats://127.0.0.1:${layout.natsPort}`,
      SLIPWAY_NATS_CREDENTIALS: paths.natsApiCredentials,
      SLIPWAY_TOKEN_FILE: paths.operatorToken,
      SLIPWAY_ADDRESS_POOL: layout.addressPool,
    },
    logPath: join(paths.logs, 'control-plane.log'),
  }
}

export function agentProcess(layout: Layout) {
  const paths = pathsOf(layout)
  return {
    name: 'the agent',
    command: process.execPath,
    args: [...LEAN, join(project, 'worker/main.ts')],
    env: {
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      SLIPWAY_URL: apiUrl(layout),
      SLIPWAY_TOKEN_FILE: paths.hostToken,
      SLIPWAY_NATS_URL: `nats://127.0.0.1:${layout.natsPort}`,
      SLIPWAY_NATS_CREDENTIALS: paths.natsAgentCredentials,
      SLIPWAY_DATA: paths.agent,
      SLIPWAY_RUN: layout.runFolder,
      SLIPWAY_INSTANCE: layout.instance,
    },
    logPath: join(paths.logs, 'agent.log'),
  }
}

async function refuseTakenPorts(layout: Layout): Promise<void> {
  for (const [port, variable] of [
    [layout.apiPort, 'SLIPWAY_API_PORT'],
    [layout.natsPort, 'SLIPWAY_NATS_PORT'],
  ] as const) {
    if (await isFree(port)) continue
    throw new Error(
      `Port ${port} of 127.0.0.1 is taken. If another Slipway runs here, stop it; otherwise choose another port with ${variable}=….`,
    )
  }
}

export function isFree(port: number, address = '127.0.0.1'): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const server = createServer()
  server.once('error', () => resolve(false))
  server.listen(port, address, () => server.close(() => resolve(true)))
  return promise
}

async function untilReady(url: string, logPath: string): Promise<void> {
  const isReady = () =>
    fetch(url, { signal: AbortSignal.timeout(2000) }).then(
      response => response.ok,
      () => false,
    )
  if (!(await waitUntil(isReady, READY_MS))) {
    throw new Error(`The control plane did not become ready within 30 s. ${lastLines(logPath)}`)
  }
}

/** The host's own token is made once through the API and kept in a file that only root reads. */
async function registerHost(api: ApiClient, url: string, tokenPath: string): Promise<void> {
  if (existsSync(tokenPath) && (await isKnown(url, readFileSync(tokenPath, 'utf8').trim()))) return
  const { token } = await createHost(api, hostname().split('.')[0] || 'local')
  writeFileSync(tokenPath, token, { mode: 0o600 })
}

/** Whether the API takes a host's token still: somebody may have removed the host. */
async function isKnown(url: string, token: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${token}` }
  const answer = await fetch(`${url}/v1/agent/desired`, { headers, signal: AbortSignal.timeout(10_000) })
  await answer.body?.cancel()
  return answer.status !== 401
}

/** A start that was killed between the API's answer and the file leaves a host whose token nobody has: take another name. */
async function createHost(api: ApiClient, name: string, attempt = 1): Promise<{ token: string }> {
  try {
    return await api.call('POST', '/v1/hosts', { name: attempt === 1 ? name : `${name}-${attempt}` })
  } catch (error) {
    const isTaken = error instanceof ApiError && error.problem.code === 'host.name-taken'
    if (isTaken && attempt < 10) return createHost(api, name, attempt + 1)
    throw error
  }
}

async function untilHostReady(api: ApiClient, logPath: string): Promise<void> {
  const isReady = async () => {
    const { items } = await api.call<{ items: { state: string }[] }>('GET', '/v1/hosts')
    return items.some(host => host.state === 'ready')
  }
  if (!(await waitUntil(isReady, READY_MS))) {
    throw new Error(`The agent did not report within 30 s. ${lastLines(logPath)}`)
  }
}

function lastLines(logPath: string): string {
  const lines = existsSync(logPath) ? readFileSync(logPath, 'utf8').trim().split('\n').slice(-5) : []
  return `The end of ${logPath}:\n${lines.join('\n')}`
}
