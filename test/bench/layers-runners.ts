import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { agentProcess } from '#infra/local/boot.ts'
import { apiUrl } from '#infra/local/layout.ts'
import { supervise, waitUntil } from '#infra/local/processes.ts'
import { type DockerPeer, startDocker } from '#test/support/docker-peer.ts'
import { bootForTest } from '#test/support/slipway.ts'
import { unmountBelow } from '#worker/host/mount.ts'

const execute = promisify(execFile)
const COMMAND = ['sleep', '1000']
const READY_MS = 30_000

/** Something that runs images out of a registry. */
export interface ImageRunner {
  name: string
  /** Until the image's first process runs. */
  run(image: string): Promise<void>
  /** The container and all of the image are gone from the host. */
  clear(image: string): Promise<void>
  /** Its processes, without the container's. */
  pids(): number[]
}

export interface OwnRunner extends ImageRunner, AsyncDisposable {
  /** Of the registry that all pull from. */
  host: string
  token: string
}

/** A whole Slipway; clearing starts its agent anew without what it had pulled. */
export async function slipwayRunner(): Promise<OwnRunner> {
  const slipway = await bootForTest('benchlay')
  const { api, layout, operatorToken } = slipway
  let { agent } = slipway
  /** The agent before it may have been heard of until now. */
  const isHeardSince = async (begun: number) => {
    const { items } = await api.call<{ items: { lastSeenAt?: string }[] }>('GET', '/v1/hosts')
    return items.every(({ lastSeenAt }) => Date.parse(lastSeenAt ?? '') > begun)
  }
  return {
    name: 'slipway',
    host: new URL(apiUrl(layout)).host,
    token: operatorToken,
    run: async image => {
      await api.call('POST', '/v1/containers?wait=running&timeout=300', { image, name: 'bench', command: COMMAND })
    },
    clear: async () => {
      await api.call('DELETE', '/v1/containers/bench?force=true&wait=removed')
      await agent.stop()
      const data = join(layout.dataFolder, 'agent')
      await unmountBelow(data)
      for (const name of readdirSync(data)) {
        if (name !== 'desired.json') await rm(join(data, name), { recursive: true, force: true })
      }
      const begun = Date.now()
      agent = supervise(agentProcess(layout), () => {})
      if (!(await waitUntil(() => isHeardSince(begun), READY_MS))) throw new Error('The agent did not come back.')
    },
    pids: () => [agent.pid() ?? 0],
    [Symbol.asyncDispose]: async () => {
      await agent.stop()
      await slipway.remove()
    },
  }
}

export interface DockerRunner extends ImageRunner, AsyncDisposable {
  peer: DockerPeer
}

export async function dockerPeer({ host, token }: OwnRunner, folder: string): Promise<DockerRunner> {
  const peer = await startDocker('none')
  const config = ['--config', join(folder, 'docker')]
  await peer.docker(...config, 'login', '-u', 'x', '-p', token, host)
  return {
    name: 'docker run',
    peer,
    run: async image => {
      await peer.docker(...config, 'run', '-d', '--network=none', '--name=bench', `${host}/${image}`, ...COMMAND)
    },
    clear: async image => {
      await peer.docker('rm', '-f', 'bench')
      await peer.docker('rmi', '-f', `${host}/${image}`)
    },
    pids: () => processesOf(peer.containerdSocket),
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
  }
}

/** dockerd and its containerd, told by the folder that they were given. */
function processesOf(containerdSocket: string): number[] {
  const folder = containerdSocket.replace(/\/run\/containerd\/.*$/, '')
  return pidsWhere(
    command => /(dockerd|containerd)$/.test(command[0] ?? '') && command.some(word => word.startsWith(folder)),
  )
}

export function ctrPeer({ peer }: DockerRunner, { host, token }: OwnRunner): ImageRunner {
  const ctr = (...args: string[]) => execute('ctr', ['--address', peer.containerdSocket, '-n', 'bench', ...args])
  return {
    name: 'ctr pull, run',
    run: async image => {
      await ctr('images', 'pull', '--plain-http', '--user', `x:${token}`, `${host}/${image}`)
      await ctr('run', '-d', `${host}/${image}`, 'bench', ...COMMAND)
    },
    clear: async image => {
      await ctr('task', 'rm', '-f', 'bench').catch(() => {})
      await ctr('container', 'rm', 'bench').catch(() => {})
      await ctr('images', 'rm', '--sync', `${host}/${image}`)
    },
    pids: () => [...processesOf(peer.containerdSocket), ...pidsWhere(([name]) => name === 'ctr')],
  }
}

export interface PodmanRunner extends ImageRunner, AsyncDisposable {}

/**
 * Podman with storage of its own. By default it asks for higher limits of files and processes than a host without
 * CAP_SYS_RESOURCE may give: here its containers get the limits that it has itself.
 */
export async function podmanPeer({ host, token }: OwnRunner, folder: string): Promise<PodmanRunner> {
  const root = join(folder, 'podman')
  const settings = join(folder, 'containers.conf')
  await writeFile(settings, '[containers]\ndefault_ulimits = []\n')
  const own = ['--root', root, '--runroot', join(folder, 'podman-run'), '--storage-driver=overlay']
  const options = { maxBuffer: 16 * 1024 ** 2, env: { ...process.env, CONTAINERS_CONF: settings } }
  const podman = (...args: string[]) => execute('podman', [...own, '--cgroup-manager=cgroupfs', ...args], options)
  const image = (name: string) => `${host}/${name}`
  return {
    name: 'podman run',
    run: async name => {
      await podman('pull', '-q', '--tls-verify=false', '--creds', `x:${token}`, image(name))
      await podman('run', '-d', '--network=none', '--name=bench', image(name), ...COMMAND)
    },
    clear: async name => {
      await podman('rm', '-f', '-i', '-t', '0', 'bench')
      await podman('rmi', '-f', image(name))
    },
    pids: () => pidsWhere(([name]) => name === 'podman'),
    [Symbol.asyncDispose]: async () => {
      await podman('rm', '-f', '-i', '-t', '0', 'bench')
      await unmountBelow(root) // It mounts its folder of layers upon itself.
    },
  }
}

function pidsWhere(isWanted: (command: string[]) => boolean): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return isWanted(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0'))
      } catch {
        return false
      }
    })
    .map(Number)
}
