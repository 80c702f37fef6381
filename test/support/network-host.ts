import { type ChildProcess, execFile, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import type { Attachment, AttachmentInfo, NetworkDriver } from '#worker/network/network-driver.ts'
import type { DriverCall } from './network-driver-process.ts'

const execute = promisify(execFile)
/** As a host has it: its own /sys and namespaces' folder; nothing of it is seen or left outside. */
const SET_UP = [
  ...['set -e', 'mkdir -p /run/netns', 'mount -t tmpfs tmpfs /run/netns', 'mount -t sysfs sysfs /sys'],
  // A new namespace takes it from the machine that the tests run on.
  ...['echo 0 > /proc/sys/net/ipv4/ip_forward', 'ip link set lo up', 'echo ready', 'exec sleep 600'],
].join('; ')

/** A network and mount namespace that stands for a machine. Whatever happens it is gone after ten minutes. */
export interface NetworkHost extends Disposable {
  pid: number
  run(...command: string[]): Promise<string>
  /** Runs on until the host is gone. */
  start(...command: string[]): void
  /** A driver in a process of its own on this host, as an agent is one. */
  openDriver(instance: string, runFolder: string, buildReach?: 'private' | 'public'): RemoteDriver
}

type Asynchronous<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never
}

export interface RemoteDriver extends Asynchronous<NetworkDriver>, Disposable {
  /** As `kill -9` of the agent. */
  kill(): Promise<void>
}

export async function openNetworkHost(): Promise<NetworkHost> {
  using undo = new DisposableStack()
  const holder = spawn('unshare', ['--net', '--mount', 'sh', '-c', SET_UP], { stdio: ['ignore', 'pipe', 'inherit'] })
  undo.defer(() => void holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  const pid = holder.pid ?? 0
  const enter = ['--target', String(pid), '--net', '--mount']
  const processes = undo.move()
  return {
    pid,
    run: async (...command) => (await execute('nsenter', [...enter, ...command], { timeout: 20_000 })).stdout.trim(),
    start: (...command) => {
      const child = spawn('nsenter', [...enter, ...command], { stdio: 'ignore' })
      processes.defer(() => void child.kill('SIGKILL'))
    },
    openDriver: (instance, runFolder, buildReach = 'private') => {
      const script = new URL('network-driver-process.ts', import.meta.url).pathname
      const child = fork(script, [instance, runFolder, buildReach], {
        execPath: 'nsenter',
        execArgv: [...enter, process.execPath],
      })
      const driver = remoteDriver(child)
      processes.use(driver)
      return driver
    },
    [Symbol.dispose]: () => processes.dispose(),
  }
}

/** Joins two hosts by a cable: the address of each end is on `10.98.7.0/24`. */
export async function joinHosts(host: NetworkHost, outside: NetworkHost): Promise<{ inner: string; outer: string }> {
  await host.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', String(outside.pid))
  const ends = [
    { end: host, address: '10.98.7.1' },
    { end: outside, address: '10.98.7.2' },
  ]
  for (const { end, address } of ends) {
    await end.run('ip', 'address', 'add', `${address}/24`, 'dev', 'up0')
    await end.run('ip', 'link', 'set', 'up0', 'up')
  }
  return { inner: '10.98.7.1', outer: '10.98.7.2' }
}

function remoteDriver(child: ChildProcess): RemoteDriver {
  let last = 0
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  child.on('message', (answer: { id: number; value?: unknown; error?: object }) => {
    const { resolve, reject } = waiting.get(answer.id) ?? Promise.withResolvers()
    waiting.delete(answer.id)
    if (answer.error) reject(Object.assign(new Error(JSON.stringify(answer.error)), answer.error))
    else resolve(answer.value)
  })
  child.on('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error('the driver was killed'))
  })
  const ask = async (call: DriverCall): Promise<unknown> => {
    const answer = Promise.withResolvers<unknown>()
    const id = ++last
    waiting.set(id, answer)
    child.send({ id, call })
    return answer.promise
  }
  return {
    ensureHost: async (...args) => void (await ask({ method: 'ensureHost', args })),
    attach: async (...args) => (await ask({ method: 'attach', args })) as Attachment,
    detach: async (...args) => void (await ask({ method: 'detach', args })),
    isAttached: async (...args) => (await ask({ method: 'isAttached', args })) as boolean,
    list: async () => (await ask({ method: 'list', args: [] })) as AttachmentInfo[],
    removeHost: async () => void (await ask({ method: 'removeHost', args: [] })),
    kill: async () => {
      const over = once(child, 'exit')
      child.kill('SIGKILL')
      await over
    },
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  }
}
