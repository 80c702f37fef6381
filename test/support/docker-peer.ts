import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { waitUntil } from '#infra/local/processes.ts'

const execute = promisify(execFile)
const DOCKER = '/usr/bin/docker'
const DOCKERD = '/usr/sbin/dockerd'

/** Debian's dockerd with everything of its own: data, socket, containerd. */
export interface DockerPeer extends AsyncDisposable {
  docker(...args: string[]): Promise<string>
  /** The socket of its containerd, for `ctr`. */
  containerdSocket: string
}

/**
 * `own`: in a network namespace of its own, where its firewall rules stay. `none`: on this machine's network, to reach
 * what listens on loopback, without a bridge or any rule. `joined`: as `own`, with a way to this machine's addresses.
 */
export async function startDocker(network: 'own' | 'joined' | 'none' = 'own'): Promise<DockerPeer> {
  await install()
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/slipway-bench-docker-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const inside = network === 'none' ? [] : await networkNamespace(undo)
  const without =
    network === 'none' ? ['--bridge=none', '--iptables=false', '--ip-forward=false', '--ip-masq=false'] : []
  if (network === 'joined') await joinToHost()

  const socket = join(folder, 'docker.sock')
  const log = await open(join(folder, 'dockerd.log'), 'a')
  const daemon = spawn(
    'nsenter',
    [
      ...inside,
      ...['--', DOCKERD, ...without, '--host', `unix://${socket}`, '--data-root', join(folder, 'data')],
      ...['--exec-root', join(folder, 'run'), '--pidfile', join(folder, 'docker.pid')],
    ],
    { stdio: ['ignore', log.fd, log.fd] },
  )
  undo.defer(async () => {
    daemon.kill('SIGTERM')
    if (daemon.exitCode === null) await once(daemon, 'close')
    await log.close()
  })
  const docker = async (...args: string[]) =>
    (await execute(DOCKER, args, { env: { ...process.env, DOCKER_HOST: `unix://${socket}` } })).stdout
  const isUp = () =>
    docker('version').then(
      () => true,
      () => false,
    )
  if (!(await waitUntil(isUp, 60_000))) throw new Error(`dockerd did not start; see ${join(folder, 'dockerd.log')}`)
  const started = undo.move()
  const containerdSocket = join(folder, 'run/containerd/containerd.sock')
  return { docker, containerdSocket, [Symbol.asyncDispose]: () => started.disposeAsync() }
}

const netns = `slwpeer${process.pid}`
/** Addresses of documentation (RFC 5737): nobody's. */
const [HERE, THERE] = ['198.51.100.1', '198.51.100.2']

/** A pair of links, which goes with the namespace. */
async function joinToHost(): Promise<void> {
  const link = `slwp${process.pid}`
  await execute('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', netns])
  await execute('ip', ['address', 'add', `${HERE}/30`, 'dev', link])
  await execute('ip', ['link', 'set', link, 'up'])
  await execute('ip', ['-n', netns, 'address', 'add', `${THERE}/30`, 'dev', 'uplink'])
  await execute('ip', ['-n', netns, 'link', 'set', 'uplink', 'up'])
  await execute('ip', ['-n', netns, 'route', 'add', 'default', 'via', HERE])
}

/** The arguments of `nsenter` that lead into a new namespace. */
async function networkNamespace(undo: AsyncDisposableStack): Promise<string[]> {
  await execute('ip', ['netns', 'add', netns])
  undo.defer(async () => void (await execute('ip', ['netns', 'delete', netns])))
  await execute('ip', ['-n', netns, 'link', 'set', 'lo', 'up'])
  return [`--net=/run/netns/${netns}`]
}

async function install(): Promise<void> {
  if (existsSync(DOCKERD)) return
  console.log('installing docker.io')
  await execute('apt-get', ['update'])
  await execute('apt-get', ['install', '-y', '--no-install-recommends', 'docker.io', 'iptables'], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}
