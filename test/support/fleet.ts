import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ApiClient, apiClient } from '#infra/local/api-client.ts'
import { buildBusybox } from '#infra/local/base-images.ts'
import { COMPILE_CACHE, CONTROL_PLANE_LEAN } from '#infra/local/boot.ts'
import { type Layout, pathsOf } from '#infra/local/layout.ts'
import { writeNatsConfig } from '#infra/local/nats.ts'
import { type Supervised, supervise, waitUntil } from '#infra/local/processes.ts'
import { leftoversOf } from './leftovers.ts'
import { freePort, makeDataFolder } from './slipway.ts'

/** A machine of a fleet: namespaces for network and mounts, an address of its own, and an agent that may be killed and started. */
export interface FleetHost {
  name: string
  layout: Layout
  /** Starts its agent, or does so again. */
  start(env?: Record<string, string>): void
  kill(): Promise<void>
  /** In order, as a supervisor does. */
  stop(): Promise<void>
  /** Runs a command there. */
  run(...command: string[]): string
}

export interface Fleet extends AsyncDisposable {
  api: ApiClient
  nats: Supervised
  dataFolder: string
  hosts: [FleetHost, FleetHost]
  /** Stops everything; what is left all the same. */
  remove(): Promise<string[]>
}

const project = join(import.meta.dirname, '../..')
/** A machine has cgroups and its own view of the network; namespaces' names are its own, too. */
const MACHINE = [
  ...[
    'set -e',
    'mkdir -p /run/netns',
    'mount -t tmpfs tmpfs /run/netns',
    'mount -t tmpfs tmpfs /mnt',
    'mkdir /mnt/cgroup',
  ],
  ...[
    'mount --rbind /sys/fs/cgroup /mnt/cgroup',
    'mount -t sysfs sysfs /sys',
    'mount --rbind /mnt/cgroup /sys/fs/cgroup',
  ],
  ...['ip link set lo up', 'echo ready', 'exec sleep 1200'],
].join('; ')

/** The names of a fleet on this machine: another may be there at the same time. */
const bridgeOf = (prefix: string) => `slw${prefix}`
const networkOf = (prefix: string) => `10.98.${createHash('sha256').update(prefix).digest()[0]}`

/** The same with the agents of both started, each with variables of its own, ready to take work, and the `busybox` image built. */
export async function bootReadyFleet(
  prefix: string,
  settings: Record<string, string> = {},
  agents: readonly [Record<string, string>, Record<string, string>] = [{}, {}],
): Promise<Fleet> {
  const fleet = await bootFleet(prefix, settings)
  try {
    for (const [at, host] of fleet.hosts.entries()) host.start(agents[at])
    const areReady = async () => {
      const { items } = await fleet.api.call<{ items: { state: string }[] }>('GET', '/v1/hosts')
      return items.every(({ state }) => state === 'ready')
    }
    if (!(await waitUntil(areReady, 30_000))) throw new Error('the agents did not become ready')
    await buildBusybox(fleet.api, () => {})
    return fleet
  } catch (error) {
    await fleet.remove()
    throw error
  }
}

/** A control plane, with `settings` of its own, and two hosts in namespaces that reach it by a bridge. `prefix`: up to 6 of a-z and 0-9. */
async function bootFleet(prefix: string, settings: Record<string, string> = {}): Promise<Fleet> {
  await using undo = new AsyncDisposableStack()
  const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' })
  const bridge = bridgeOf(prefix)
  ip('link', 'add', bridge, 'type', 'bridge')
  undo.defer(() => void ip('link', 'delete', bridge))
  const address = `${networkOf(prefix)}.1`
  ip('address', 'add', `${address}/24`, 'dev', bridge)
  ip('link', 'set', bridge, 'up')
  const dataFolder = makeDataFolder(prefix)
  undo.defer(() => rmSync(dataFolder, { recursive: true, force: true }))
  const [apiPort, natsPort] = [await freePort(address), await freePort(address)]
  const whole: Layout = {
    ...{ instance: prefix, dataFolder, runFolder: `/run/slipway-${prefix}`, apiPort, natsPort },
    addressPool: '10.97.0.0/16',
  }
  const paths = pathsOf(whole)
  mkdirSync(paths.secrets, { recursive: true, mode: 0o700 })
  const config = writeNatsConfig(whole)
  writeFileSync(config, readFileSync(config, 'utf8').replace('127.0.0.1', address), { mode: 0o600 })
  const natsLog = join(paths.logs, 'nats.log')
  const nats = undo.use(
    supervise({ name: 'nats', command: 'nats-server', args: ['-c', config], logPath: natsLog }, () => {}),
  )
  const url = `http://${address}:${apiPort}`
  const env = {
    ...{ ...CONTROL_PLANE_LEAN.env, NODE_COMPILE_CACHE: COMPILE_CACHE, SLIPWAY_DATA: paths.controlPlane },
    ...{ SLIPWAY_LISTEN: `${address}:${apiPort}`, SLIPWAY_NATS_URL: `nats://${address}:${natsPort}` },
    ...{ SLIPWAY_NATS_CREDENTIALS: paths.natsApiCredentials, SLIPWAY_TOKEN_FILE: paths.operatorToken },
    ...{ SLIPWAY_ADDRESS_POOL: whole.addressPool, ...settings },
  }
  const main = { command: process.execPath, args: [join(project, 'control-plane/main.node.ts')], env }
  undo.use(supervise({ name: 'the control plane', ...main, logPath: join(paths.logs, 'api.log') }, () => {}))
  const isUp = () =>
    fetch(`${url}/readyz`).then(
      answer => answer.ok,
      () => false,
    )
  if (!(await waitUntil(isUp, 30_000))) throw new Error('the control plane did not come up')
  const api = apiClient(url, readFileSync(paths.operatorToken, 'utf8').trim())
  const open = (letter: string, at: number) => openHost(undo, { api, url, whole, name: `${prefix}${letter}`, at })
  const hosts: [FleetHost, FleetHost] = [await open('a', 2), await open('b', 3)]
  const started = undo.move()
  const remove = async () => {
    for (const host of hosts) await host.kill()
    const left = hosts.flatMap(host => {
      const own = { SLIPWAY_INSTANCE: host.layout.instance, SLIPWAY_DATA: pathsOf(host.layout).agent }
      const words = Object.entries({ ...own, SLIPWAY_RUN: host.layout.runFolder }).map(
        ([key, value]) => `${key}=${value}`,
      )
      host.run('env', ...words, process.execPath, join(project, 'worker/remove-all.ts'))
      return leftoversOf(host.layout)
    })
    await started.disposeAsync()
    return left
  }
  return { api, nats, dataFolder, hosts, remove, [Symbol.asyncDispose]: async () => void (await remove()) }
}

interface Place {
  api: ApiClient
  url: string
  whole: Layout
  name: string
  at: number
}

async function openHost(undo: AsyncDisposableStack, { api, url, whole, name, at }: Place): Promise<FleetHost> {
  const machine = spawn('unshare', ['--net', '--mount', 'sh', '-c', MACHINE], { stdio: ['ignore', 'pipe', 'inherit'] })
  undo.defer(() => void machine.kill('SIGKILL'))
  await once(machine.stdout, 'data')
  const enter = ['--target', String(machine.pid), '--net', '--mount']
  const run = (...command: string[]) =>
    execFileSync('nsenter', [...enter, ...command], { encoding: 'utf8', timeout: 60_000 })
  const link = `${bridgeOf(whole.instance)}${at}`
  const network = networkOf(whole.instance)
  execFileSync('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'up0', 'netns', String(machine.pid)])
  execFileSync('ip', ['link', 'set', link, 'master', bridgeOf(whole.instance), 'up'])
  run('ip', 'address', 'add', `${network}.${at}/24`, 'dev', 'up0')
  run('ip', 'link', 'set', 'up0', 'up')
  run('ip', 'route', 'add', 'default', 'via', `${network}.1`)
  const dataFolder = join(whole.dataFolder, name)
  const layout = { ...whole, instance: name, dataFolder, runFolder: `/run/slipway-${name}` }
  undo.defer(() => rmSync(layout.runFolder, { recursive: true, force: true }))
  const { token } = await api.call<{ token: string }>('POST', '/v1/hosts', { name })
  mkdirSync(dataFolder, { recursive: true })
  const tokenFile = join(dataFolder, 'token')
  writeFileSync(tokenFile, token, { mode: 0o600 })
  const settings = {
    ...{ NODE_COMPILE_CACHE: COMPILE_CACHE, SLIPWAY_URL: url, SLIPWAY_TOKEN_FILE: tokenFile, SLIPWAY_INSTANCE: name },
    ...{ SLIPWAY_NATS_URL: `nats://${network}.1:${whole.natsPort}`, SLIPWAY_DATA: pathsOf(layout).agent },
    ...{ SLIPWAY_NATS_CREDENTIALS: pathsOf(whole).natsAgentCredentials, SLIPWAY_RUN: layout.runFolder },
  }
  let agent: ReturnType<typeof spawn> | undefined
  const end = async (signal: 'SIGKILL' | 'SIGTERM') => {
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return
    const gone = once(agent, 'exit')
    agent.kill(signal)
    await gone
  }
  const kill = () => end('SIGKILL')
  const start = (env: Record<string, string> = {}) => {
    // nsenter becomes the agent: its process is the one to kill.
    const args = [...enter, process.execPath, join(project, 'worker/main.ts')]
    agent = spawn('nsenter', args, { env: { ...process.env, ...settings, ...env }, stdio: 'ignore' })
  }
  undo.defer(kill)
  return { name, layout, start, kill, stop: () => end('SIGTERM'), run }
}
